"""The protocol of sources of yearly files, and the choice of files for a year. No storage, no Dagster."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import IO, Protocol

from accident_reco.models.accidents.codebook import TABLES
from accident_reco.models.accidents.sources.naming import parse_path


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


def group_by_year(
    paths: Iterable[str], list_years: Callable[[str, str], Iterable[int]] | None = None
) -> dict[int, dict[str, list[str]]]:
    """Paths by year and table: the publisher's exact names first, then files of one year, then shorter paths.

    Args:
        list_years: years of the rows of a file (path, table) whose name states none or several; None: such files are
            left out.
    """
    found: dict[int, dict[str, list[tuple[bool, bool, int, str]]]] = {}
    for path in paths:
        named = parse_path(path)
        if named is None:
            continue
        several = named.year is None
        years = [named.year] if named.year is not None else list_years(path, named.table) if list_years else []
        for year in years:
            rank = (not named.exact, several, len(path), path)
            found.setdefault(year, {}).setdefault(named.table, []).append(rank)
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
