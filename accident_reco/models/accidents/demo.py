"""The accident model in the demonstration of the closed loop: sample years, traffic like them, traffic that moved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import pandas as pd

from accident_reco.contract import DemoScenario
from accident_reco.models.accidents import codebook
from accident_reco.models.accidents.data.raw_store import VICTIMS, load_frame
from accident_reco.models.accidents.features.context import CONTEXT_COLUMNS
from accident_reco.models.accidents.sample import sample_year
from accident_reco.settings import Settings
from accident_reco.storage.objects import open_store

TWO_WHEELERS: Final = frozenset({"1", "2", "30", "31", "32", "33", "34", "41", "42", "43", "50", "60", "80"})
OUTSIDE_TOWNS: Final = "1"
REQUEST_COLUMNS: Final = (
    "Num_Acc", "catu", "sexe", "trajet", "place", "locp", "etatp", "catv", "motor", "senc", "col", "lum", "atm",
    "agg", "int", "catr", "circ", "nbv", "vosp", "prof", "plan", "surf", "infra", "situ", "mois", "hrmn", "an_nais",
    "vma", "secu1", "secu2", "secu3", "dep", "lat", "long", *CONTEXT_COLUMNS,
)  # fmt: skip
"""Columns in the demonstration's requests."""
BATCH: Final = 500


class AccidentDemo(DemoScenario):
    """A first year, then only two-wheelers outside of towns."""

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
        moved_year(source, self.moved, size * 10)

    def is_ingested(self, settings: Settings, period: int) -> bool:
        key = f"{VICTIMS}/{period}.json"
        return key in open_store(settings.store).list(f"{VICTIMS}/")

    def requests(self, settings: Settings, period: int, count: int, seed: int) -> Iterator[dict[str, Any]]:
        asked = records(settings, period, count, seed)
        for start in range(0, len(asked), BATCH):
            yield {"records": asked[start : start + BATCH]}


def write_year(folder: Path, year: int, people: int) -> None:
    """The four published files of a sample year."""
    for file in sample_year(year, people).values():
        (folder / file.name).write_bytes(file.data)


def moved_year(folder: Path, year: int, people: int) -> None:
    """A year in which only one kind of accident is left: two-wheelers outside of towns."""
    files = sample_year(year, people)
    outside = _accidents_where(files["caracteristiques"].data, "agg", frozenset({OUTSIDE_TOWNS}))
    kept = outside & _accidents_where(files["vehicules"].data, "catv", TWO_WHEELERS)
    # The accidents' file last: the year is complete, and seen, when its four files are there.
    for table in sorted(files, key=lambda name: name == "caracteristiques"):
        (folder / files[table].name).write_bytes(_only(files[table].data, kept))


def _names(header: list[bytes]) -> list[str]:
    return [name.strip(b'" ').decode() for name in header]


def _accidents_where(data: bytes, column: str, values: frozenset[str]) -> set[bytes]:
    header, *rows = data.splitlines()
    place = _names(header.split(b";")).index(column)
    found = set()
    for row in rows:
        cells = row.split(b";")
        if cells[place].strip(b'" ').decode() in values:
            found.add(cells[0])
    return found


def _only(data: bytes, accidents: set[bytes]) -> bytes:
    header, *rows = data.splitlines(keepends=True)
    return b"".join([header, *(row for row in rows if row.split(b";", 1)[0] in accidents)])


def records(settings: Settings, year: int, count: int, seed: int) -> list[dict[str, Any]]:
    """Requests about `count` people of a stored year: whole accidents in random order."""
    people = load_frame(open_store(settings.store), "victims", year)
    numbers = people["Num_Acc"].unique()
    order = pd.Series(np.random.default_rng(seed).permutation(len(numbers)), index=numbers)
    people = people.assign(_order=people["Num_Acc"].map(order)).sort_values("_order", kind="stable").head(count)
    asked = people[[name for name in REQUEST_COLUMNS if name in people]].to_dict("records")
    return [{str(name): _plain(value) for name, value in row.items() if _known(str(name), value)} for row in asked]


def _known(name: str, value: Any) -> bool:
    if value is None or value != value or value == -1:
        return False
    return name in CONTEXT_COLUMNS or codebook.problem(name, _plain(value)) is None


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
