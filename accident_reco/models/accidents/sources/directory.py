"""Yearly files below a local directory, any fsspec URL, or an http(s) address."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urljoin, urlsplit

from accident_reco.models.accidents.sources.base import (
    EXPECTED_FILES,
    Fetched,
    SourceError,
    group_by_year,
    select_complete_years,
)
from accident_reco.storage.download import CHUNK, Downloader, DownloadError, spool

MAX_FILES = 100_000
MAX_PAGES = 200


class DirectorySource:
    """A directory with published files at any depth. Years without all four files are skipped."""

    data_source = "directory"

    def __init__(self, location: str, downloader: Downloader | None = None) -> None:
        self.location = location.rstrip("/") or "/"
        scheme = urlsplit(location).scheme
        self._http = scheme in ("http", "https")
        self._downloader = downloader or Downloader(trusted={urlsplit(location).netloc} if self._http else set())

    @cached_property
    def _fs(self) -> tuple[Any, str]:
        import fsspec

        return fsspec.core.url_to_fs(self.location if "://" in self.location else str(Path(self.location).resolve()))

    @cached_property
    def _listing(self) -> dict[str, str]:
        """Path → size and time of the file, which change with it; empty for http."""
        if self._http:
            return dict.fromkeys(self._pages(), "")
        fs, root = self._fs
        if not fs.exists(root):
            raise SourceError(f"{self.location} does not exist; give a directory or URL that holds {EXPECTED_FILES}")
        found = {}
        for path, info in fs.find(root, detail=True).items():
            if path.lower().endswith(".csv"):
                stamp = info.get("ETag") or info.get("mtime") or info.get("LastModified") or ""
                found[path] = f"{info.get('size')}:{stamp}"
            if len(found) > MAX_FILES:
                raise SourceError(f"{self.location} holds more than {MAX_FILES:,} CSV files; give a narrower directory")
        return found

    def _pages(self) -> Iterator[str]:
        """CSV addresses linked from the index pages below the address."""
        base = self.location + "/"
        todo, seen = [base], {base}
        while todo:
            page = todo.pop()
            try:
                with self._downloader.get(page).stream as stream:
                    text = stream.read().decode("utf-8", errors="replace")
            except DownloadError as error:
                raise SourceError(f"{page} cannot be listed: {error}") from error
            for link in re.findall(r"""href\s*=\s*["']?([^"'\s>]+)""", text, flags=re.IGNORECASE):
                try:
                    target = urljoin(page, link).split("#")[0].split("?")[0]
                except ValueError:  # a link that is no address leads nowhere
                    continue
                if not target.startswith(base) or target in seen:
                    continue
                seen.add(target)
                if target.lower().endswith(".csv"):
                    yield target
                elif target.endswith("/") and len(seen) < MAX_PAGES:
                    todo.append(target)

    @cached_property
    def _found(self) -> tuple[dict[int, dict[str, str]], list[str]]:
        years, notes = select_complete_years(group_by_year(self._listing))
        if not years:
            seen = "; ".join(notes) or "no such file at all"
            raise SourceError(f"no complete year in {self.location}: looked for {EXPECTED_FILES}, at any depth; {seen}")
        return years, notes

    def years(self) -> list[int]:
        """Complete years."""
        return list(self._found[0])

    def notes(self) -> list[str]:
        """Years and files that are skipped."""
        return list(self._found[1])

    def fingerprint(self, year: int) -> str:
        """Hash of paths, sizes and times of the year's files."""
        files = sorted(self._files(year).values())
        return hashlib.sha256("\n".join(f"{path} {self._listing[path]}" for path in files).encode()).hexdigest()[:16]

    def is_current(self) -> bool:
        """Always: the files themselves are listed."""
        return True

    def fetch(self, year: int, table: str) -> Fetched:
        """One file, streamed."""
        path = self._files(year)[table]
        name = unquote(path.rsplit("/", 1)[-1])
        if self._http:
            try:
                got = self._downloader.get(path)
            except DownloadError as error:
                raise SourceError(f"{path} cannot be fetched: {error}") from error
            return Fetched(name, path, got.stream, got.sha256, got.size)
        fs, _ = self._fs
        with fs.open(path, "rb") as file:
            stream, sha256, size = spool(_read_chunks(file))
        return Fetched(name, fs.unstrip_protocol(path), stream, sha256, size)

    def _files(self, year: int) -> dict[str, str]:
        years = self._found[0]
        if year not in years:
            raise SourceError(
                f"{year} is not in {self.location}: complete years there are {', '.join(map(str, years))}"
            )
        return years[year]


def _read_chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk
