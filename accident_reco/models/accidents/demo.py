"""Scenario of the accident model in the demonstration of the closed loop: sample years and traffic with drift."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import pandas as pd

from accident_reco.contract import DemoScenario
from accident_reco.models.accidents import codebook
from accident_reco.models.accidents.data.raw_store import VICTIMS, load_frame
from accident_reco.models.accidents.features.context_columns import CONTEXT_COLUMNS
from accident_reco.models.accidents.sample import sample_year
from accident_reco.settings import Settings
from accident_reco.storage.objects import open_store

TWO_WHEELERS: Final = frozenset({"1", "2", "30", "31", "32", "33", "34", "41", "42", "43", "50", "60", "80"})
OUTSIDE_TOWNS: Final = "1"
REQUEST_COLUMNS: Final = (
    *("Num_Acc", "catu", "sexe", "trajet", "place", "locp", "etatp", "catv", "motor", "senc", "col", "lum", "atm"),
    *("agg", "int", "catr", "circ", "nbv", "vosp", "prof", "plan", "surf", "infra", "situ", "mois", "hrmn", "an_nais"),
    *("vma", "secu1", "secu2", "secu3", "dep", "lat", "long"),
    *CONTEXT_COLUMNS,
)
"""Columns of the demonstration's requests."""
REQUEST_ROWS: Final = 500


class AccidentDemo(DemoScenario):
    """Traffic like the first year, then only accidents of two-wheelers outside of towns."""

    first, moved, size = 2022, 2024, 4000
    what_moves = "motorcycles on country roads"
    path = "/predict/accidents"
    probe: ClassVar = {"records": [{"catu": 1}]}
    weak: ClassVar = {"accidents_forest_trees": 1, "accidents_boosting_rounds": 1}

    def settings(self, source: Path) -> dict[str, Any]:
        return {
            "accidents_source": str(source),
            "accidents_watch_seconds": 4,
            "retrain_new_years": 9,
            "accidents_floor": 0.5,
            "accidents_minimum_gain": 0.0,
            "accidents_forest_trees": 40,
            "accidents_boosting_rounds": 80,
        }

    def first_jobs(self) -> Sequence[tuple[str, str | None]]:
        return [("ingest_accidents", str(self.first)), ("train_accidents", None)]

    def write_first(self, source: Path, size: int) -> None:
        write_year(source, self.first, size // 4)

    def write_moved(self, source: Path, size: int) -> None:
        write_moved_year(source, self.moved, size * 10)

    def is_ingested(self, settings: Settings, period: int) -> bool:
        key = f"{VICTIMS}/{period}.json"
        return key in open_store(settings.store).list(f"{VICTIMS}/")

    def requests(self, settings: Settings, period: int, count: int, seed: int) -> Iterator[dict[str, Any]]:
        records = load_records(settings, period, count, seed)
        for start in range(0, len(records), REQUEST_ROWS):
            yield {"records": records[start : start + REQUEST_ROWS]}


def write_year(folder: Path, year: int, rows: int) -> None:
    """Write the four files of a sample year with about `rows` road users."""
    for file in sample_year(year, rows).values():
        (folder / file.name).write_bytes(file.data)


def write_moved_year(folder: Path, year: int, rows: int) -> None:
    """Write a sample year, drawn with about `rows` road users, with accidents of two-wheelers outside of towns only."""
    files = sample_year(year, rows)
    outside = _find_accidents(files["caracteristiques"].data, "agg", frozenset({OUTSIDE_TOWNS}))
    kept = outside & _find_accidents(files["vehicules"].data, "catv", TWO_WHEELERS)
    # The accidents' file last: sensors detect the year when all of its four files exist.
    for table in sorted(files, key=lambda name: name == "caracteristiques"):
        (folder / files[table].name).write_bytes(_filter_rows(files[table].data, kept))


def _parse_header(header: list[bytes]) -> list[str]:
    return [name.strip(b'" ').decode() for name in header]


def _find_accidents(data: bytes, column: str, values: frozenset[str]) -> set[bytes]:
    header, *rows = data.splitlines()
    position = _parse_header(header.split(b";")).index(column)
    found = set()
    for row in rows:
        cells = row.split(b";")
        if cells[position].strip(b'" ').decode() in values:
            found.add(cells[0])
    return found


def _filter_rows(data: bytes, accidents: set[bytes]) -> bytes:
    header, *rows = data.splitlines(keepends=True)
    return b"".join([header, *(row for row in rows if row.split(b";", 1)[0] in accidents)])


def load_records(settings: Settings, year: int, count: int, seed: int) -> list[dict[str, Any]]:
    """Records of `count` road users of a stored year: whole accidents in random order, without unknown values."""
    victims = load_frame(open_store(settings.store), "victims", year)
    numbers = victims["Num_Acc"].unique()
    order = pd.Series(np.random.default_rng(seed).permutation(len(numbers)), index=numbers)
    victims = victims.assign(_order=victims["Num_Acc"].map(order)).sort_values("_order", kind="stable").head(count)
    rows = victims[[name for name in REQUEST_COLUMNS if name in victims]].to_dict("records")
    return [
        {str(name): _to_python(value) for name, value in row.items() if _is_valid(str(name), value)} for row in rows
    ]


def _is_valid(name: str, value: Any) -> bool:
    if value is None or value != value or value == -1:
        return False
    return name in CONTEXT_COLUMNS or codebook.find_problem(name, _to_python(value)) is None


def _to_python(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
