"""A fetched file, and how one is read from a zip without trusting the zip. Where files come from is in `sources`."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Final

from accident_reco.storage.download import CHUNK, spool

MAX_UNPACKED: Final = 4 << 30
MAX_RATIO: Final = 100


class SourceError(RuntimeError):
    """A source cannot provide its files; the message names the expected files, the place and the fix."""


@dataclass
class FetchedFile:
    """One fetched file: its published name, its URL, and a stream at its beginning."""

    name: str
    url: str
    stream: IO[bytes]
    sha256: str
    size: int
    note: str = ""


def extract_member(archive: IO[bytes], url: str, names: Iterable[str], note: str = "") -> FetchedFile:
    """The member of a zip whose own name is one of `names`, in that order of preference.

    Nothing is extracted to a path: a member's name is only compared. Raises SourceError for an invalid zip
    (damaged, encrypted, an unknown method), a member that unpacks to too much, or none or several of that name.
    """
    with _readable(url):
        opened = zipfile.ZipFile(archive)
    with opened:
        for name in names:
            found = [info for info in opened.infolist() if info.filename.rsplit("/", 1)[-1] == name]
            if len(found) > 1:
                raise SourceError(f"{url} holds {len(found)} files called {name}; use a directory instead")
            if found:
                return FetchedFile(name, f"{url}#{found[0].filename}", *spool(_unpack(opened, found[0], url)), note)
    raise SourceError(f"{url} holds none of {', '.join(names)}")


UNREADABLE: Final = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    OverflowError,
    RuntimeError,
    MemoryError,
)
"""What zipfile and its decompressors raise for damaged, encrypted or unsupported archives."""


@contextmanager
def _readable(url: str) -> Iterator[None]:
    """Turns what zipfile and its decompressors raise for damaged, encrypted or unsupported archives into SourceError.

    Only for reading: an OSError of bz2 means damaged data, an OSError of writing does not.
    """
    try:
        yield
    except UNREADABLE as error:
        raise SourceError(f"{url} is not a valid zip: {error or type(error).__name__}") from error


def _unpack(opened: zipfile.ZipFile, info: zipfile.ZipInfo, url: str) -> Iterator[bytes]:
    # The declared size may be wrong: unpacked bytes are counted.
    size, cap = 0, min(MAX_UNPACKED, max(info.compress_size, 1) * MAX_RATIO)
    if info.flag_bits & 1:
        raise SourceError(f"{url}: {info.filename} is encrypted; give a zip without password, or a directory")
    with _readable(url):
        member = opened.open(info)
    with member:
        while True:
            with _readable(url):
                chunk = member.read(CHUNK)
            if not chunk:
                return
            size += len(chunk)
            if size > cap:
                raise SourceError(f"{url}: {info.filename} unpacks to more than {cap:,} bytes")
            yield chunk
