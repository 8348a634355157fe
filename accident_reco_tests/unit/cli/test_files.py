"""Commands on files: inspection before an ingestion, and the publishers' answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from accident_reco.contract import Check
from accident_reco.models.accidents.model import AccidentModel
from accident_reco.models.accidents.sample import sample_year
from accident_reco.models.movies.model import MovieModel
from accident_reco.settings import Settings
from accident_reco_tests.support.command_line import accident_reco


def test_inspection_of_both_models(tmp_path: Path) -> None:
    """A folder with a year of accidents and a set of ratings: read by both, exit code by what cannot be read."""
    for file in sample_year(2022, 40).values():
        (tmp_path / file.name).write_bytes(file.data)
    (tmp_path / "ratings.csv").write_bytes(b"userId,movieId,rating,timestamp\n1,10,4.0,964982703\n")
    (tmp_path / "movies.csv").write_bytes(b"movieId,title,genres\n10,X (1995),Drama\n")
    shown = accident_reco("inspect", str(tmp_path), "--json")
    assert shown.exit_code == 0, shown
    found = json.loads(shown.out)
    assert [report["content"] for report in found["movies"]] == ["ratings", "movies"]
    assert {report["layout"] for report in found["accidents"]} == {"layout since 2019, UTF-8, separated by ';'"}
    (tmp_path / "lieux-2022.csv").write_bytes(b"<html>")
    broken = accident_reco("inspect", str(tmp_path), "--json")
    assert broken.exit_code == 4
    problems = [report["problem"] for report in json.loads(broken.out)["accidents"]]
    assert sum("lieux-2022.csv line 1: this is not a lieux file" in problem for problem in problems) == 1


def test_official_needs_its_option() -> None:
    """A wrong usage names the right one."""
    assert accident_reco("official").exit_code == 2


@pytest.mark.parametrize(("passed", "warn", "code"), [(True, False, 0), (False, True, 0), (False, False, 4)])
def test_exit_code_of_the_publishers_answers(
    monkeypatch: pytest.MonkeyPatch, passed: bool, warn: bool, code: int
) -> None:
    """What differs is a negative result unless it is a warning. The checks themselves have tests of their own."""

    def answers(_: object, settings: Settings) -> Iterator[Check]:
        assert settings.movies_source  # type: ignore[attr-defined]
        yield Check("listing", passed, "reason", warn=warn)

    for model in (AccidentModel, MovieModel):
        monkeypatch.setattr(model, "check_official", answers)
    shown = accident_reco("official", "--check", "--json")
    assert shown.exit_code == code, shown
    assert {outcome["model"] for outcome in json.loads(shown.out)} == {"accidents", "movies"}
