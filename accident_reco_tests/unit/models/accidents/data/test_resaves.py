"""Files saved again at random by pandas, csv, R and spreadsheets: read as the originals, or refused with a reason.

`ACCIDENT_RECO_TEST_RESAVES=2000` tries that many instead of the few of every run.
"""

from __future__ import annotations

import os
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from accident_reco.models.accidents.data.checks import find_data_problems, summarise
from accident_reco.models.accidents.data.reading import UnreadableFile
from accident_reco.models.accidents.data.schema import VICTIM_COLUMNS
from accident_reco.models.accidents.data.victims import RawFile, build_victims
from accident_reco.models.accidents.sample import sample_year
from accident_reco_tests.support.resaves import Resave, save_again

EXAMPLES = int(os.environ.get("ACCIDENT_RECO_TEST_RESAVES", "40"))
YEARS = {year: sample_year(year, 30) for year in (2009, 2013, 2018, 2019, 2021, 2022, 2024)}
READ = {year: build_victims(files, year).victims for year, files in YEARS.items()}
# Texts that no feature uses, whose leading zeros other programs drop, and whose letters an encoding may lack.
LOOSE = ("voie", "v1", "pr", "pr1", "adr")

RESAVES = st.builds(
    Resave,
    tool=st.sampled_from(["pandas", "csv", "r", "spreadsheet"]),
    separator=st.sampled_from([";", ",", "\t"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    newline=st.sampled_from(["\n", "\r\n"]),
    merged=st.booleans(),
    filled=st.sampled_from(["", "0", "-1", "NA", "nan"]),
    shuffled=st.booleans(),
    index=st.booleans(),
)
DAMAGES: list[dict[str, str]] = [
    {"Num_Acc": "2,024E+11"},
    {"id_vehicule": "1,56E+08"},
    {"id_vehicule": "", "num_veh": ""},
    {"num_veh": "A01"},
    {"dep": "Nord"},
    {"com": "59350"},
    {"lat": "5,06E+01"},
    {"grav": "x"},
    {"hrmn": "noon"},
    {"secu": "11", "secu1": "1"},
    {"vma": "fast", "larrout": "6 m"},
    {"an": "2007"},
    {"catu": "9"},
]


def _find_problems(files: dict[str, RawFile], year: int) -> tuple[pd.DataFrame | None, list[str]]:
    """Victims, and the reasons why the year may not be used."""
    try:
        built = build_victims(files, year)
    except UnreadableFile as error:
        return None, [str(error)]
    record: dict[str, Any] = {"url": "", "size": 1, "data_source": "directory"}
    records = {table: {**record, "name": file.name, "sha256": table} for table, file in files.items()}
    return built.victims, find_data_problems({year: summarise(built, year, records, "")})


def _normalize(victims: pd.DataFrame, drop: tuple[str, ...] = ()) -> pd.DataFrame:
    """Victims in an order of their own, without what no program is expected to keep.

    Without some columns, what is derived from them is left out too.
    """
    if drop:
        victims = victims[list(VICTIM_COLUMNS)]
    frame = victims.drop(columns=[*LOOSE, *drop], errors="ignore")
    keys = [name for name in frame if name not in ("lat", "long")]
    return frame.sort_values(keys, ignore_index=True, key=lambda column: column.astype(str))


@pytest.mark.slow
# Without shrinking: the arguments are short as they are, and a failure must not take minutes.
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
@given(year=st.sampled_from(list(YEARS)), how=RESAVES)
def test_equal_to_the_original_or_refused(year: int, how: Resave) -> None:
    """Never wrong and green: the same people with the same values, or a reason that names file, line and text."""
    victims, problems = _find_problems(save_again(YEARS[year], how), year)
    if problems:
        assert all("line " in problem for problem in problems), problems
        return
    assert victims is not None
    pd.testing.assert_frame_equal(_normalize(victims), _normalize(READ[year]))


@pytest.mark.parametrize("year", [2013, 2024])
@pytest.mark.parametrize("tool", ["pandas", "csv", "r", "spreadsheet"])
def test_ordinary_saves_are_read(year: int, tool: Any) -> None:
    """What each program writes with its usual arguments is read, not refused, in both eras."""
    separator = ";" if tool == "spreadsheet" else ","
    how = Resave(tool=tool, separator=separator, encoding="utf-8-sig" if tool == "spreadsheet" else "utf-8")
    victims, problems = _find_problems(save_again(YEARS[year], how), year)
    assert problems == []
    assert victims is not None
    pd.testing.assert_frame_equal(_normalize(victims), _normalize(READ[year]))


@pytest.mark.parametrize("year", [2013, 2022])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: ",".join(damage))
def test_damaged_columns_are_named(year: int, damage: dict[str, str]) -> None:
    """A column that lost its content: the reason shows it with file, line, text and fix, or nothing changed but it."""
    victims, problems = _find_problems(save_again(YEARS[year], Resave(damage=damage)), year)
    if not problems:
        assert victims is not None
        expected = _normalize(READ[year], tuple(damage))
        pd.testing.assert_frame_equal(_normalize(victims, tuple(damage)), expected)
        return
    first = problems[0]
    assert any(name in first for name in damage), first
    assert any(text in first or not text for text in damage.values()), first
    assert " line " in first
    assert "fix: " in first.lower()
