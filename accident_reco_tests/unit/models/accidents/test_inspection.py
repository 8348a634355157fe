"""Inspection of a folder of yearly files: what would be read, refused, left out, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from accident_reco.contract import FileReport
from accident_reco.models.accidents.model import MODEL
from accident_reco.models.accidents.sample import sample_year
from accident_reco.models.accidents.sources import SourceError
from accident_reco_tests.support.baac import text, year


def _inspect(folder: Path) -> dict[str, FileReport]:
    return {report.file: report for report in MODEL.inspect_files(folder)}


def test_years_layouts_rows_and_problems(tmp_path: Path) -> None:
    """A sound old year, a year with a broken column, one without people, a near miss: each file is described."""
    old = sample_year(2013, 40)
    new = sample_year(2022, 40)
    for file in [*old.values(), *new.values(), sample_year(2021, 30)["lieux"]]:
        (tmp_path / file.name).write_bytes(file.data)
    (tmp_path / "usagers-2022.csv").write_bytes(new["usagers"].data.replace(b'"A01"', b'"?01"'))
    text_of = new["caracteristiques"]
    (tmp_path / text_of.name).write_bytes(text_of.data.replace(b'"2022"', b'"2021"'))
    (tmp_path / "usager-2013.csv").write_bytes(b"x")
    found = _inspect(tmp_path)
    assert found["caracteristiques_2013.csv"].layout == "layout until 2018, Windows-1252, separated by ','"
    assert found["usagers_2013.csv"].rows == old["usagers"].data.count(b"\n") - 1
    assert all(not found[f"{name}_2013.csv"].problem for name in ("caracteristiques", "lieux", "vehicules", "usagers"))
    broken = found["carcteristiques-2022.csv"]
    assert (broken.content, broken.rows) == ("caracteristiques of 2022", 0)
    assert broken.problem.startswith(
        "2022: carcteristiques-2022.csv line 2: an = 2021 is not the year of the file (2022)"
    )
    (reason,) = [reason for reason in broken.rejected if "an = 2021" in reason]
    assert broken.rejected[reason] == len(text_of.data.splitlines()) - 1
    alone = found["lieux-2021.csv"]
    assert alone.problem == "2021 is left out: no file for caracteristiques, vehicules, usagers"
    assert alone.rows > 0
    assert "expected is usagers-YYYY.csv" in found["usager-2013.csv"].problem


def test_year_of_two_eras(tmp_path: Path) -> None:
    """The refusal stands beside the file that it is about; the others refer to it."""
    for file in year(lieux=text([{"Num_Acc": str(201600000001 + n), "catr": "1", "circ": "1", "nbv": "2", "vosp": "0",
                                  "prof": "1", "plan": "1", "surf": "1", "infra": "0", "situ": "1", "larrout": "60"}
                                 for n in range(9)]).encode()).values():  # fmt: skip
        (tmp_path / file.name).write_bytes(file.data)
    found = _inspect(tmp_path)
    assert [name for name, report in found.items() if not report.problem.startswith("2023 is left out, because")] == [
        next(name for name, report in found.items() if "Num_Acc = 20" in report.problem)
    ]


def test_nothing_to_inspect(tmp_path: Path) -> None:
    """A folder without yearly files has no report; one that does not exist is an error."""
    (tmp_path / "ratings.csv").write_bytes(b"userId,movieId,rating,timestamp\n")
    assert MODEL.inspect_files(tmp_path) == []
    with pytest.raises(SourceError, match="does not exist"):
        MODEL.inspect_files(tmp_path / "gone")
