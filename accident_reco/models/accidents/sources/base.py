"""The protocol of sources of yearly files, and the recognition of yearly files by name. No storage, no Dagster."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, Final, Protocol

from accident_reco.models.accidents.codebook import TABLES

_NAME = re.compile(
    r"^(?P<stem>caract\w*?|carcteristiques|lieux|vehicules|usagers)[-_ ]?(?P<year>20\d\d)(?P<rest>[^/]*)\.csv$",
    re.IGNORECASE,
)


class SourceError(RuntimeError):
    """A source cannot provide a year or a file; the message states what was searched, where, and the fix."""


@dataclass
class Fetched:
    """One published file: name, address, content as a stream at its beginning, hash and size in bytes."""

    name: str
    url: str
    stream: IO[bytes]
    sha256: str
    size: int


class Source(Protocol):
    """A source of yearly files; `data_source` is its name in assets, cards and answers."""

    data_source: str

    def years(self) -> list[int]:
        """Available complete years, ascending.

        Raises:
            SourceError: there is none.
        """

    def fingerprint(self, year: int) -> str:
        """Changes when the files of a year change; cheap, reads no file."""

    def is_current(self) -> bool:
        """Whether `years` and `fingerprint` are current; if not, stored files are kept."""

    def fetch(self, year: int, table: str) -> Fetched:
        """One file.

        Raises:
            SourceError: the year or the table is not available.
        """

    def notes(self) -> list[str]:
        """Warnings, such as incomplete years that are skipped."""


def parse_file_name(name: str) -> tuple[str, int, bool] | None:
    """Table and year of a file name, and whether it is exactly the publisher's name; None for other files.

    Accepts all published spellings: `caracteristiques_2016.csv`, `carcteristiques-2021.csv`, `caract-2024.csv`.
    """
    match = _NAME.match(name)
    if match is None:
        return None
    stem = match["stem"].lower()
    table = "caracteristiques" if stem.startswith("car") else stem
    return table, int(match["year"]), match["rest"] == ""


def group_by_year(names: Iterable[str]) -> dict[int, dict[str, list[str]]]:
    """Paths by year and table, the publisher's exact names first, then shorter paths."""
    found: dict[int, dict[str, list[tuple[bool, int, str]]]] = {}
    for path in names:
        known = parse_file_name(path.rstrip("/").rsplit("/", 1)[-1])
        if known is not None:
            table, year, own = known
            found.setdefault(year, {}).setdefault(table, []).append((not own, len(path), path))
    return {
        year: {table: [path for *_, path in sorted(paths)] for table, paths in tables.items()}
        for year, tables in sorted(found.items())
    }


def select_complete_years(found: dict[int, dict[str, list[str]]]) -> tuple[dict[int, dict[str, str]], list[str]]:
    """Years with all four tables, and a warning for each year or file that is skipped."""
    years, notes = {}, []
    for year, tables in found.items():
        missing = [table for table in TABLES if table not in tables]
        if missing:
            names = ", ".join(sorted(path.rsplit("/", 1)[-1] for paths in tables.values() for path in paths))
            notes.append(f"{year} is left out: found {names}, but no file for {', '.join(missing)}")
            continue
        years[year] = {table: paths[0] for table, paths in tables.items()}
        spare = {paths[0]: ", ".join(paths[1:]) for paths in tables.values() if paths[1:]}
        notes += [f"{year}: {read} is read, {others} is not" for read, others in spare.items()]
    return years, notes


EXPECTED_FILES: Final = "caract…-YYYY.csv, lieux-YYYY.csv, vehicules-YYYY.csv and usagers-YYYY.csv of one year"
