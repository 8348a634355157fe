"""Yearly files below a local directory, any fsspec URL, or an http(s) address."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cached_property
from urllib.parse import urlsplit

from accident_reco.models.accidents.data.reading import UnreadableFile
from accident_reco.models.accidents.data.several_years import count_years, select_year
from accident_reco.models.accidents.sources.base import Fetched, SourceError, group_by_year, select_complete_years
from accident_reco.models.accidents.sources.listing import Listing
from accident_reco.models.accidents.sources.naming import EXPECTED_FILES, list_near_misses, parse_path
from accident_reco.storage.download import Downloader, spool

# Years of the rows of files of several years, or why there are none, by label and stamp: read again when they change.
_YEARS: dict[tuple[str, str], tuple[tuple[int, ...], str]] = {}
_MAX_REMEMBERED = 1_000


class DirectorySource:
    """A directory with published files at any depth. Years without all four files are skipped.

    A file of several years is a file of each: the rows of one year are fetched.
    """

    data_source = "directory"

    def __init__(self, location: str, downloader: Downloader | None = None) -> None:
        parts = urlsplit(location)
        trusted = {parts.netloc} if parts.scheme in ("http", "https") else set()
        self.listing = Listing(location, downloader or Downloader(trusted=trusted))
        self.location = self.listing.location
        self._unreadable: list[str] = []

    @cached_property
    def _labels(self) -> dict[str, str]:
        """Path below the location → label."""
        return {self.listing.relative(label): label for label in self.listing.stamps}

    @cached_property
    def _found(self) -> tuple[dict[int, dict[str, str]], list[str]]:
        years, notes = select_complete_years(self.list_files())
        notes += [*self._unreadable, *self.listing.notes, *list_near_misses(self._labels)]
        if not years:
            seen = "; ".join(notes) or "no such file at all"
            raise SourceError(f"no complete year in {self.location}: looked for {EXPECTED_FILES}, at any depth; {seen}")
        return years, notes

    def paths(self) -> list[str]:
        """Paths of all files below the location.

        Raises:
            SourceError: the location does not exist, or holds too many files.
        """
        return list(self._labels)

    def list_files(self) -> dict[int, dict[str, list[str]]]:
        """Paths by year and table, of incomplete years too, the one that is read first."""
        return group_by_year(self._labels, self._list_years)

    def unreadable(self) -> list[str]:
        """Notes on files of several years that could not be read, once they were listed."""
        return list(self._unreadable)

    def _list_years(self, path: str, table: str) -> Iterable[int]:
        """Years of the rows of a file; none, with a note, for one that cannot be read."""
        label = self._labels[path]
        key = (label, self.listing.stamps[label])
        if key not in _YEARS or not key[1]:
            if len(_YEARS) >= _MAX_REMEMBERED:
                _YEARS.clear()
            _YEARS[key] = self._count_years(label, path, table)
        years, problem = _YEARS[key]
        if problem and problem not in self._unreadable:
            self._unreadable.append(problem)
        return years

    def _count_years(self, label: str, path: str, table: str) -> tuple[tuple[int, ...], str]:
        """Years of the rows of a file, or none and why it is not read."""
        try:
            years = tuple(count_years(self._read(label), table, path))
        except (UnreadableFile, SourceError) as error:
            return (), f"{path} is not read: {error}"
        return years, "" if years else f"{path} is not read: none of its rows has an accident number"

    def _read(self, label: str) -> bytes:
        with self.listing.open(label)[0] as stream:
            return stream.read()

    def years(self) -> list[int]:
        """Complete years."""
        return list(self._found[0])

    def notes(self) -> list[str]:
        """Years and files that are skipped, and files whose names are nearly those of yearly files."""
        return list(self._found[1])

    def fingerprint(self, year: int) -> str:
        """Hash of paths, sizes and times of the year's files."""
        files = sorted(self._labels[path] for path in self._files(year).values())
        lines = [f"{label} {self.listing.stamps[label]}" for label in files]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    def is_current(self) -> bool:
        """Always: the files themselves are listed."""
        return True

    def fetch(self, year: int, table: str) -> Fetched:
        """One file, unpacked; of a file of several years the rows of this one."""
        return self.fetch_path(self._files(year)[table], year, table)

    def fetch_path(self, path: str, year: int, table: str) -> Fetched:
        """The file of a path, likewise.

        Raises:
            SourceError: it cannot be fetched, unpacked or split.
        """
        label = self._labels[path]
        name, address = path.replace("#", "/").rsplit("/", 1)[-1], self.listing.address(label)
        named = parse_path(path)
        if named is not None and named.year is not None:
            return Fetched(name, address, *self.listing.open(label))
        try:
            rows = select_year(self._read(label), table, path, year)
        except UnreadableFile as error:
            raise SourceError(str(error)) from error
        return Fetched(name, f"{address}#{year}", *spool([rows]))

    def _files(self, year: int) -> dict[str, str]:
        years = self._found[0]
        if year not in years:
            raise SourceError(
                f"{year} is not in {self.location}: complete years there are {', '.join(map(str, years))}"
            )
        return years[year]
