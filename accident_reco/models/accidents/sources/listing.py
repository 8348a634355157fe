"""Files below a local directory, any fsspec URL, or an http(s) address, members of zip files included."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import unquote, urljoin, urlsplit

from accident_reco.models.accidents.sources.base import SourceError
from accident_reco.models.accidents.sources.naming import EXPECTED_FILES, is_system_file, parse_path
from accident_reco.storage.archives import ArchiveError, open_zip, unpack_gzip, unpack_member
from accident_reco.storage.download import CHUNK, Downloader, DownloadError, spool

MAX_FILES: Final = 100_000
MAX_PAGES: Final = 200


class Listing:
    """The files of a place, each under a label: its path or address, `path#member` for a member of a zip.

    Labels of http addresses are addresses; zips there are not listed, since that takes fetching them.
    """

    def __init__(self, location: str, downloader: Downloader) -> None:
        self.location = location.rstrip("/") or "/"
        self.is_http = urlsplit(location).scheme in ("http", "https")
        self.notes: list[str] = []
        self._downloader = downloader

    @cached_property
    def _fs(self) -> tuple[Any, str]:
        import fsspec

        return fsspec.core.url_to_fs(self.location if "://" in self.location else str(Path(self.location).resolve()))

    @cached_property
    def stamps(self) -> dict[str, str]:
        """Label → size and time of the file, which change with it; empty for http."""
        if self.is_http:
            return dict.fromkeys(self._pages(), "")
        fs, root = self._fs
        if not fs.exists(root):
            raise SourceError(f"{self.location} does not exist; give a directory or URL that holds {EXPECTED_FILES}")
        found: dict[str, str] = {}
        for path, info in self._walk(fs, root):
            if is_system_file(path.removeprefix(root)):
                continue
            stamp = f"{info.get('size')}:{info.get('ETag') or info.get('mtime') or info.get('LastModified') or ''}"
            members = self._list_members(path) if path.lower().endswith(".zip") else [path]
            found.update(dict.fromkeys(members, stamp))
            if len(found) > MAX_FILES:
                raise SourceError(f"{self.location} holds more than {MAX_FILES:,} files; give a narrower directory")
        return found

    def relative(self, label: str) -> str:
        """A label below the location, as names and notes use it; of an address without its escapes."""
        if self.is_http:
            return unquote(label.removeprefix(self.location + "/"))
        root = self._fs[1]
        parent = root.rsplit("/", 1)[0]
        return label.removeprefix(root.rstrip("/") + "/") if label != root else label.removeprefix(parent + "/")

    def _walk(self, fs: Any, root: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Files at any depth. Folders that are links are followed, each once."""
        if fs.isfile(root):
            yield root, fs.info(root)
            return
        if "file" not in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,)):
            yield from fs.find(root, detail=True).items()
            return
        seen: set[str] = set()
        for folder, folders, names in os.walk(root, followlinks=True):
            real = os.path.realpath(folder)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            folders.sort()
            for name in sorted(names):
                path = os.path.join(folder, name)
                try:
                    status = os.stat(path)
                except OSError:  # a link to nothing
                    self.notes.append(f"{path} is not read: it is a link to a file that does not exist")
                    continue
                yield path, {"size": status.st_size, "mtime": status.st_mtime}

    def _list_members(self, path: str) -> list[str]:
        """Labels of the files in a zip; a member without a name of its own has that of the zip."""
        fs, _ = self._fs
        try:
            with fs.open(path, "rb") as file, open_zip(file, self.relative(path)) as opened:
                names = [info.filename for info in opened.infolist() if not info.is_dir()]
        except ArchiveError as error:
            self.notes.append(f"{error}; it is not read")
            return []
        return [f"{path}#{name}" for name in names if not is_system_file(name)]

    def _pages(self) -> Iterator[str]:
        """Addresses of files linked from the index pages below the address."""
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
                if not target.endswith("/"):
                    yield target
                elif len(seen) < MAX_PAGES:
                    todo.append(target)

    def open(self, label: str) -> tuple[IO[bytes], str, int]:
        """The unpacked content of a file as a stream at its beginning, with its sha256 and size.

        Raises:
            SourceError: it cannot be fetched or unpacked.
        """
        name = self.relative(label)
        try:
            with self._chunks(label) as chunks:
                return spool(unpack_gzip(chunks, name) if label.lower().endswith(".gz") else chunks)
        except DownloadError as error:
            raise SourceError(f"{label} cannot be fetched: {error}") from error
        except ArchiveError as error:
            raise SourceError(str(error)) from error

    @contextmanager
    def _chunks(self, label: str) -> Iterator[Iterator[bytes]]:
        if self.is_http:
            with self._downloader.get(label).stream as stream:
                yield from_stream(stream) if not label.lower().endswith(".zip") else _only_member(stream, label)
            return
        fs, _ = self._fs
        path, _, member = label.partition("#")
        with fs.open(path, "rb") as file:
            if not member:
                yield from_stream(file)
                return
            with open_zip(file, self.relative(path)) as opened:
                yield unpack_member(opened, opened.getinfo(member), self.relative(path))

    def address(self, label: str) -> str:
        """The URL of a file."""
        return label if self.is_http else str(self._fs[0].unstrip_protocol(label))


def _only_member(archive: IO[bytes], url: str) -> Iterator[bytes]:
    """The content of the one CSV file in a fetched zip."""
    with open_zip(archive, url) as opened:
        found = [info for info in opened.infolist() if not info.is_dir() and not is_system_file(info.filename)]
        tables = [info for info in found if parse_path(info.filename)] or found
        if len(tables) != 1:
            raise ArchiveError(f"{url} holds {len(tables)} files where one is expected; unpack it there")
        yield from unpack_member(opened, tables[0], url)


def from_stream(file: IO[bytes]) -> Iterator[bytes]:
    """The rest of a stream in chunks."""
    while chunk := file.read(CHUNK):
        yield chunk
