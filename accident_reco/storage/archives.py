"""Reads gzip files and members of zip files without trusting them.

Unpacked bytes are counted, and names never become paths. What the files contain is the caller's.
"""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Final

from accident_reco.storage.download import CHUNK

MAX_UNPACKED: Final = 4 << 30
MAX_RATIO: Final = 100
"""Largest ratio of unpacked to packed size (published files have about 4 to 10)."""
MAX_MEMBERS: Final = 10_000


class ArchiveError(RuntimeError):
    """An archive is damaged, encrypted, of an unknown method, or unpacks to too much; the message names it."""


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
    """Turns what zipfile and its decompressors raise into ArchiveError.

    Only for reading: an OSError of bz2 means damaged data, an OSError of writing does not.
    """
    try:
        yield
    except UNREADABLE as error:
        raise ArchiveError(f"{url} is not a valid zip: {error or type(error).__name__}") from error


@contextmanager
def open_zip(archive: IO[bytes], url: str) -> Iterator[zipfile.ZipFile]:
    """An opened zip. Raises ArchiveError for one that is damaged, or that has too many members."""
    with _readable(url):
        opened = zipfile.ZipFile(archive)
    with opened:
        if len(opened.infolist()) > MAX_MEMBERS:
            raise ArchiveError(f"{url} has more than {MAX_MEMBERS:,} members")
        yield opened


def unpack_member(opened: zipfile.ZipFile, info: zipfile.ZipInfo, url: str) -> Iterator[bytes]:
    """The content of a member in chunks. Raises ArchiveError."""
    # The declared size may be wrong: unpacked bytes are counted.
    size, cap = 0, min(MAX_UNPACKED, max(info.compress_size, 1) * MAX_RATIO)
    if info.flag_bits & 1:
        raise ArchiveError(f"{url}: {info.filename} is encrypted; give a zip without password, or a directory")
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
                raise ArchiveError(f"{url}: {info.filename} unpacks to more than {cap:,} bytes")
            yield chunk


def unpack_gzip(chunks: Iterable[bytes], url: str) -> Iterator[bytes]:
    """The content of a gzip file (one or several streams) in chunks. Raises ArchiveError."""
    decoder, packed, size = zlib.decompressobj(wbits=31), 0, 0
    try:
        for chunk in chunks:
            packed += len(chunk)
            rest = chunk
            while rest:
                if decoder.eof:
                    rest = rest.lstrip(b"\0")  # padding after a stream is allowed
                    if not rest:
                        break
                    decoder = zlib.decompressobj(wbits=31)
                unpacked = decoder.decompress(rest, CHUNK)
                size += len(unpacked)
                if size > min(MAX_UNPACKED, packed * MAX_RATIO):
                    raise ArchiveError(f"{url} unpacks to more than {min(MAX_UNPACKED, packed * MAX_RATIO):,} bytes")
                yield unpacked
                rest = decoder.unconsumed_tail or decoder.unused_data
        yield decoder.flush()
    except zlib.error as error:
        raise ArchiveError(f"{url} is not a valid gzip file: {error}") from None
    if not decoder.eof:
        raise ArchiveError(f"{url} is not a complete gzip file: it ends early")
