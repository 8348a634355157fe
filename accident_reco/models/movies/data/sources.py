"""Where rating files come from: made up (`sample`), published by GroupLens (`official`), or a directory or URL.

A source gives the ratings file and the movies file, each as a stream with its digest; nothing is read before.
"""

from __future__ import annotations

import hashlib
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import urlsplit

from accident_reco.models.movies.data.sample import SampleSpec, movies_csv, ratings_csv
from accident_reco.models.movies.settings import MovieSettings
from accident_reco.storage.download import CHUNK, Download, Downloader, DownloadError, spool

# Ratings and movies file of each published set, newest format first.
PAIRS = (("ratings.csv", "movies.csv"), ("ratings.dat", "movies.dat"), ("u.data", "u.item"))
OFFICIAL = "https://files.grouplens.org/datasets/movielens/"
HOSTS = ("grouplens.org",)
MAX_UNPACKED = 4 << 30
MAX_RATIO = 100
"""A member that unpacks to more than this many times its size is no rating file (theirs shrink to a quarter)."""


class SourceError(RuntimeError):
    """A source cannot give its files; the message says what was looked for, where, and what to do."""


@dataclass
class Fetched:
    """One file as it came: its name, where from, and a stream at its beginning."""

    name: str
    url: str
    stream: IO[bytes]
    sha256: str
    size: int
    note: str = ""


class MovieSource(Protocol):
    """Where the two files come from. `data_source` is what assets, cards and answers carry."""

    data_source: str

    def fingerprint(self) -> str:
        """Changes when the files do; cheap, reads none of them. Raises SourceError."""

    def gave(self, url: str, fingerprint: str) -> bool:
        """Whether a file stored with these is of what is named now. Asks nobody outside. Raises SourceError."""

    def ratings(self) -> Fetched:
        """The ratings file. Raises SourceError."""

    def movies(self) -> Fetched:
        """The movies file. Raises SourceError."""

    def close(self) -> None:
        """Give back what fetching needed; files that were handed out stay open."""


def open_source(settings: MovieSettings) -> MovieSource:
    """The source that the settings name."""
    name = settings.movies_source
    if name == "sample":
        return SampleSource(SampleSpec(settings.movies_sample_ratings, settings.seed, settings.movies_sample_movies))
    if name == "official":
        return OfficialSource(settings.movies_dataset)
    return DirectorySource(name)


class SampleSource:
    """Made-up files of a size and a seed."""

    data_source = "sample"

    def __init__(self, spec: SampleSpec) -> None:
        self.spec = spec

    def fingerprint(self) -> str:
        """The size and the seed."""
        return hashlib.sha256(repr(self.spec).encode()).hexdigest()[:16]

    def gave(self, url: str, fingerprint: str) -> bool:
        """Of this size and seed."""
        return fingerprint == self.fingerprint()

    def ratings(self) -> Fetched:
        """`ratings.csv`, made block by block."""
        return Fetched("ratings.csv", f"sample:seed={self.spec.seed}", *spool(ratings_csv(self.spec)))

    def movies(self) -> Fetched:
        """`movies.csv`."""
        return Fetched("movies.csv", f"sample:seed={self.spec.seed}", *spool([movies_csv(self.spec)]))

    def close(self) -> None:
        """Nothing is held."""


class DirectorySource:
    """A directory, any fsspec URL or an http(s) address that holds a ratings and a movies file of one published set."""

    data_source = "directory"

    def __init__(self, location: str, downloader: Downloader | None = None) -> None:
        self.location = location.rstrip("/") or "/"
        parts = urlsplit(location)
        self._http = parts.scheme in ("http", "https")
        self._downloader = downloader or Downloader(trusted={parts.netloc} if self._http else set(), max_bytes=2 << 30)

    @cached_property
    def _fs(self) -> tuple[Any, str]:
        import fsspec

        return fsspec.core.url_to_fs(self.location if "://" in self.location else str(Path(self.location).resolve()))

    @cached_property
    def _names(self) -> tuple[str, str]:
        fs, root = self._fs
        if not fs.exists(root):
            raise SourceError(f"{self.location} does not exist; give a directory or URL that holds {_looked_for()}")
        for pair in PAIRS:
            if all(fs.exists(f"{root}/{name}") for name in pair):
                return pair
        held = ", ".join(sorted(path.rsplit("/", 1)[-1] for path in fs.ls(root, detail=False))[:10]) or "nothing"
        raise SourceError(f"{self.location} does not hold {_looked_for()}; it holds {held}")

    def fingerprint(self) -> str:
        """Sizes and times of the files; of an http address, of what it gives."""
        if self._http:
            return ""
        fs, root = self._fs
        infos = [fs.info(f"{root}/{name}") for name in self._names]
        stamps = [f"{info['name']}:{info.get('size')}:{info.get('ETag') or info.get('mtime')}" for info in infos]
        return hashlib.sha256("\n".join(stamps).encode()).hexdigest()[:16]

    def gave(self, url: str, fingerprint: str) -> bool:
        """Of these very files; of an http address, from there."""
        return url.rpartition("/")[0] == self.location if self._http else fingerprint == self.fingerprint()

    def ratings(self) -> Fetched:
        """The ratings file."""
        return self._fetch(0)

    def movies(self) -> Fetched:
        """The movies file."""
        return self._fetch(1)

    def close(self) -> None:
        """Nothing is held."""

    def _fetch(self, which: int) -> Fetched:
        if self._http:
            return self._download(which)
        fs, root = self._fs
        path = f"{root}/{self._names[which]}"
        with fs.open(path, "rb") as file:
            return Fetched(self._names[which], fs.unstrip_protocol(path), *spool(_chunks(file)))

    def _download(self, which: int) -> Fetched:
        tried = []
        for pair in PAIRS:
            url = f"{self.location}/{pair[which]}"
            try:
                got = self._downloader.get(url)
            except DownloadError as error:
                tried.append(str(error))
                if "answered 404" not in str(error):
                    break
            else:
                return Fetched(pair[which], url, got.stream, got.sha256, got.size)
        raise SourceError(f"{self.location} does not give {_looked_for()}: {'; '.join(tried)}")


class OfficialSource:
    """A set as GroupLens publishes it: one zip, held to its published md5. `base` differs in tests only."""

    data_source = "official"

    def __init__(self, dataset: str, downloader: Downloader | None = None, base: str = OFFICIAL) -> None:
        self.url = f"{base}{dataset}.zip"
        self._downloader = downloader or Downloader(allowed=HOSTS, max_bytes=2 << 30, timeout_s=3600)

    @cached_property
    def _md5(self) -> str:
        """The published md5, or '' where GroupLens publishes none (the sets that change: ml-latest…)."""
        try:
            with self._downloader.get(self.url + ".md5").stream as stream:
                text = stream.read(4096).decode("ascii", "replace").lower()
        except DownloadError as error:
            if "answered 404" in str(error) or "answered 403" in str(error):
                return ""
            raise SourceError(f"the checksum of {self.url} cannot be fetched: {error}") from error
        found = [word for word in text.replace("=", " ").split() if len(word) == 32 and word.isalnum()]
        if not found:
            raise SourceError(f"{self.url}.md5 holds no md5: {text[:80]!r}")
        return found[0]

    @cached_property
    def _zip(self) -> Download:
        try:
            return self._downloader.get(self.url, lambda body: _wrong(body, self._md5))
        except DownloadError as error:
            raise SourceError(f"the official ratings cannot be fetched: {error}") from error

    def fingerprint(self) -> str:
        """The published md5; '' where there is none, which means: look again."""
        return self._md5

    def gave(self, url: str, fingerprint: str) -> bool:
        """Of this set; what became of it since is not looked up."""
        return url.partition("#")[0] == self.url

    def ratings(self) -> Fetched:
        """The ratings file inside the zip."""
        return self._member(0)

    def movies(self) -> Fetched:
        """The movies file inside the zip."""
        return self._member(1)

    def close(self) -> None:
        """Forget the zip."""
        if "_zip" in vars(self):
            self._zip.stream.close()
            del self._zip

    def _member(self, which: int) -> Fetched:
        self._zip.stream.seek(0)
        note = f"md5 {self._md5} verified" if self._md5 else "no md5 is published for this set"
        return unpack(self._zip.stream, self.url, tuple(pair[which] for pair in PAIRS), note)


def unpack(archive: IO[bytes], url: str, names: Iterable[str], note: str = "") -> Fetched:
    """The member of a zip whose own name is one of `names`, in that order of preference.

    Nothing is extracted to a path: a member's name is only compared. Raises SourceError for what is no sound zip
    (damaged, encrypted, an unknown method), a member that unpacks to too much, or none or several of that name.
    """
    with _sound(url):
        opened = zipfile.ZipFile(archive)
    with opened:
        for name in names:
            found = [info for info in opened.infolist() if info.filename.rsplit("/", 1)[-1] == name]
            if len(found) > 1:
                raise SourceError(f"{url} holds {len(found)} files called {name}; give a directory instead")
            if found:
                return Fetched(name, f"{url}#{found[0].filename}", *spool(_unpacked(opened, found[0], url)), note)
    raise SourceError(f"{url} holds none of {', '.join(names)}")


@contextmanager
def _sound(url: str) -> Iterator[None]:
    """Turns what zipfile and its decompressors raise for damaged, encrypted or unsupported archives into SourceError.

    Only for reading: an OSError of bz2 means damaged data, an OSError of writing does not.
    """
    try:
        yield
    except (
        zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, ValueError, OverflowError,
        RuntimeError, MemoryError,
    ) as error:  # fmt: skip
        raise SourceError(f"{url} is not a sound zip: {error or type(error).__name__}") from error


def _unpacked(opened: zipfile.ZipFile, info: zipfile.ZipInfo, url: str) -> Iterator[bytes]:
    # The stated size may lie: what really comes out is counted.
    size, cap = 0, min(MAX_UNPACKED, max(info.compress_size, 1) * MAX_RATIO)
    if info.flag_bits & 1:
        raise SourceError(f"{url}: {info.filename} is encrypted; give a zip without password, or a directory")
    with _sound(url):
        member = opened.open(info)
    with member:
        while True:
            with _sound(url):
                chunk = member.read(CHUNK)
            if not chunk:
                return
            size += len(chunk)
            if size > cap:
                raise SourceError(f"{url}: {info.filename} unpacks to more than {cap:,} bytes")
            yield chunk


def _wrong(body: Download, md5: str) -> str | None:
    """What is wrong with a body against its published md5; None when it fits or none is published."""
    digest = hashlib.md5(usedforsecurity=False)
    for chunk in _chunks(body.stream):
        digest.update(chunk)
    body.stream.seek(0)
    found = digest.hexdigest()
    return None if not md5 or found == md5 else f"the md5 is {found}, published is {md5}"


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    read: Callable[[int], bytes] = file.read
    while chunk := read(CHUNK):
        yield chunk


def _looked_for() -> str:
    return " or ".join(f"{ratings} with {movies}" for ratings, movies in PAIRS)
