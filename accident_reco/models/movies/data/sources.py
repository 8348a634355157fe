"""Sources of rating files: generated (`sample`), published by GroupLens (`official`), or a directory or URL.

A source fetches the ratings file and the movies file, each as a stream with its digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import urlsplit

from accident_reco.models.movies.data.archives import FetchedFile, SourceError, extract_member
from accident_reco.models.movies.data.listing import (
    FILE_PAIRS,
    FoundPair,
    describe_expected,
    find_pair,
    list_near_misses,
)
from accident_reco.models.movies.data.sample import SampleSpec, generate_movies_csv, generate_ratings_csv
from accident_reco.models.movies.settings import MovieSettings
from accident_reco.storage.archives import ArchiveError, open_zip, unpack_gzip, unpack_member
from accident_reco.storage.download import CHUNK, Download, Downloader, DownloadError, find_web_page, spool

OFFICIAL_URL = "https://files.grouplens.org/datasets/movielens/"
OFFICIAL_HOSTS = ("grouplens.org",)
MAX_LISTED = 10_000


class MovieSource(Protocol):
    """Provides the two files. `data_source` is recorded with assets, cards and answers."""

    data_source: str

    def compute_fingerprint(self) -> str:
        """Identity of the files without reading them; empty where there is none. Raises SourceError."""

    def provides(self, url: str, fingerprint: str) -> bool:
        """Whether a file stored with this URL and fingerprint is of this source. No network. Raises SourceError."""

    def fetch_ratings(self) -> FetchedFile:
        """The ratings file. Raises SourceError."""

    def fetch_movies(self) -> FetchedFile:
        """The movies file. Raises SourceError."""

    def close(self) -> None:
        """Release what fetching needed; fetched files stay open."""


def open_source(settings: MovieSettings) -> MovieSource:
    """The configured source."""
    name = settings.movies_source
    if name == "sample":
        return SampleSource(SampleSpec(settings.movies_sample_ratings, settings.seed, settings.movies_sample_movies))
    if name == "official":
        return OfficialSource(settings.movies_dataset)
    return DirectorySource(name)


class SampleSource:
    """Generated files of a size and a seed."""

    data_source = "sample"

    def __init__(self, spec: SampleSpec) -> None:
        self.spec = spec

    def compute_fingerprint(self) -> str:
        """The size and the seed."""
        return hashlib.sha256(repr(self.spec).encode()).hexdigest()[:16]

    def provides(self, url: str, fingerprint: str) -> bool:
        """Whether it has this size and seed."""
        return fingerprint == self.compute_fingerprint()

    def fetch_ratings(self) -> FetchedFile:
        """`ratings.csv`, generated block by block."""
        return FetchedFile("ratings.csv", f"sample:seed={self.spec.seed}", *spool(generate_ratings_csv(self.spec)))

    def fetch_movies(self) -> FetchedFile:
        """`movies.csv`."""
        return FetchedFile("movies.csv", f"sample:seed={self.spec.seed}", *spool([generate_movies_csv(self.spec)]))

    def close(self) -> None:
        """Nothing to release."""


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
    def _pair(self) -> FoundPair:
        """The two files: in the directory or a folder of it, else in a zip."""
        fs, root = self._fs
        if not fs.exists(root):
            raise SourceError(
                f"{self.location} does not exist; use a directory or URL that holds {describe_expected()}"
            )
        paths = self.list_paths()
        found = find_pair(paths) or find_pair(self._list_members(paths))
        if found is None:
            held = ", ".join(sorted(path.rsplit("/", 1)[-1] for path in paths)[:10]) or "nothing"
            near = [f"{path.rsplit('/', 1)[-1]} (expected is {name})" for path, name in list_near_misses(paths).items()]
            also = f"; nearly so named: {', '.join(near)}" if near else ""
            raise SourceError(f"{self.location} does not hold {describe_expected()}; it holds {held}{also}")
        return found

    def list_paths(self) -> list[str]:
        """Files in the directory and its folders; the location itself where it is a file."""
        fs, root = self._fs
        return [root] if fs.isfile(root) else [str(path) for path in fs.find(root, maxdepth=2)][:MAX_LISTED]

    def _list_members(self, paths: list[str]) -> list[str]:
        """Members of the zips among the paths, as `path#member`."""
        fs, _ = self._fs
        members: list[str] = []
        for path in paths:
            if path.lower().endswith(".zip"):
                try:
                    with fs.open(path, "rb") as file, open_zip(file, path) as opened:
                        members += [f"{path}#{info.filename}" for info in opened.infolist() if not info.is_dir()]
                except ArchiveError as error:
                    raise SourceError(str(error)) from error
        return members

    def compute_fingerprint(self) -> str:
        """Digest of sizes and times of the files; empty for an http address."""
        if self._http:
            return ""
        fs, _ = self._fs
        infos = [fs.info(path.partition("#")[0]) for path in self._pair.paths]
        stamps = [f"{info['name']}:{info.get('size')}:{info.get('ETag') or info.get('mtime')}" for info in infos]
        return hashlib.sha256("\n".join(stamps).encode()).hexdigest()[:16]

    def provides(self, url: str, fingerprint: str) -> bool:
        """Whether the files are the same; for an http address, whether they were fetched from it."""
        return url.rpartition("/")[0] == self.location if self._http else fingerprint == self.compute_fingerprint()

    def fetch_ratings(self) -> FetchedFile:
        """The ratings file."""
        return self._fetch(0)

    def fetch_movies(self) -> FetchedFile:
        """The movies file."""
        return self._fetch(1)

    def close(self) -> None:
        """Nothing to release."""

    def _fetch(self, which: int) -> FetchedFile:
        if self._http:
            return self._download(which)
        fs, _ = self._fs
        label, name = self._pair.paths[which], self._pair.names[which]
        path, _, member = label.partition("#")
        try:
            with fs.open(path, "rb") as file:
                if member:
                    with open_zip(file, path) as opened:
                        content = spool(self._unpack(unpack_member(opened, opened.getinfo(member), path), member))
                else:
                    content = spool(self._unpack(_read_chunks(file), path))
        except ArchiveError as error:
            raise SourceError(str(error)) from error
        return FetchedFile(name, fs.unstrip_protocol(label), *content)

    def _unpack(self, chunks: Iterator[bytes], path: str) -> Iterator[bytes]:
        return unpack_gzip(chunks, path) if path.lower().endswith(".gz") else chunks

    def _download(self, which: int) -> FetchedFile:
        tried = []
        for pair in FILE_PAIRS:
            url = f"{self.location}/{pair[which]}"
            try:
                got = self._downloader.get(url)
            except DownloadError as error:
                tried.append(str(error))
                if "answered 404" not in str(error):
                    break
            else:
                return FetchedFile(pair[which], url, got.stream, got.sha256, got.size)
        raise SourceError(f"{self.location} does not provide {describe_expected()}: {'; '.join(tried)}")


class OfficialSource:
    """A set as GroupLens publishes it: one zip, verified against its published md5. `base` differs in tests only."""

    data_source = "official"

    def __init__(self, dataset: str, downloader: Downloader | None = None, base: str = OFFICIAL_URL) -> None:
        self.url = f"{base}{dataset}.zip"
        self._downloader = downloader or Downloader(allowed=OFFICIAL_HOSTS, max_bytes=2 << 30, timeout_s=3600)

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
            return self._downloader.get(self.url, lambda body: _check_md5(body, self._md5))
        except DownloadError as error:
            raise SourceError(f"the official ratings cannot be fetched: {error}") from error

    def compute_fingerprint(self) -> str:
        """The published md5; empty where there is none, so that the set is fetched again."""
        return self._md5

    def provides(self, url: str, fingerprint: str) -> bool:
        """Whether the file is of this set, whatever its current state."""
        return url.partition("#")[0] == self.url

    def fetch_ratings(self) -> FetchedFile:
        """The ratings file inside the zip."""
        return self._member(0)

    def fetch_movies(self) -> FetchedFile:
        """The movies file inside the zip."""
        return self._member(1)

    def close(self) -> None:
        """Close the zip."""
        if "_zip" in vars(self):
            self._zip.stream.close()
            del self._zip

    def _member(self, which: int) -> FetchedFile:
        self._zip.stream.seek(0)
        note = f"md5 {self._md5} verified" if self._md5 else "no md5 is published for this set"
        return extract_member(self._zip.stream, self.url, tuple(pair[which] for pair in FILE_PAIRS), note)


def _check_md5(body: Download, md5: str) -> str | None:
    """Why a body is not the published zip, in words: a web page, or another md5; None where nothing contradicts it."""
    page = find_web_page(body)
    if page is not None:
        return f"answered {page}"
    digest = hashlib.md5(usedforsecurity=False)
    for chunk in _read_chunks(body.stream):
        digest.update(chunk)
    body.stream.seek(0)
    found = digest.hexdigest()
    return None if not md5 or found == md5 else f"the md5 is {found}, published is {md5}"


def _read_chunks(file: IO[bytes]) -> Iterator[bytes]:
    read: Callable[[int], bytes] = file.read
    while chunk := read(CHUNK):
        yield chunk
