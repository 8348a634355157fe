"""Made-up years and requests for the demonstration of the closed loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from accident_reco.models.accidents import codebook
from accident_reco.models.accidents.data.raw_store import load_frame
from accident_reco.models.accidents.features.context import CONTEXT_COLUMNS
from accident_reco.models.accidents.sample import sample_year
from accident_reco.settings import Settings
from accident_reco.storage.objects import open_store

TWO_WHEELERS: Final = frozenset({"1", "2", "30", "31", "32", "33", "34", "41", "42", "43", "50", "60", "80"})
OUTSIDE_TOWNS: Final = "1"
SAID: Final = (
    "Num_Acc", "catu", "sexe", "trajet", "place", "locp", "etatp", "catv", "motor", "senc", "col", "lum", "atm",
    "agg", "int", "catr", "circ", "nbv", "vosp", "prof", "plan", "surf", "infra", "situ", "mois", "hrmn", "an_nais",
    "vma", "secu1", "secu2", "secu3", "dep", "lat", "long", *CONTEXT_COLUMNS,
)  # fmt: skip
"""Columns that a caller of the demonstration says of a person."""


def write_year(folder: Path, year: int, people: int) -> None:
    """The four published files of a made-up year."""
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
    asked = people[[name for name in SAID if name in people]].to_dict("records")
    return [{str(name): _plain(value) for name, value in row.items() if _known(str(name), value)} for row in asked]


def _known(name: str, value: Any) -> bool:
    if value is None or value != value or value == -1:
        return False
    return name in CONTEXT_COLUMNS or codebook.problem(name, _plain(value)) is None


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
