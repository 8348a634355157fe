"""Bounded unpacking of gzip streams and zip files: sizes are counted, never believed; names never become paths."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Final

from accident_reco.models.accidents.scoring.files.limits import (
    MAX_MEMBERS,
    FileLimits,
    UnscorableFile,
    check_ratio,
    refuse_unpacked,
)

GZIP: Final = b"\x1f\x8b"
ZIP: Final = b"PK\x03\x04"
PARQUET: Final = b"PAR1"
_PIECE: Final = 256 * 1024
_GZIP_WINDOW: Final = 31


class GzipUnpacker:
    """Unpacks a gzip stream piece by piece; several members in a row are one stream."""

    def __init__(self, limits: FileLimits) -> None:
        self._limit = limits.unpacked_bytes
        self._inflate = zlib.decompressobj(_GZIP_WINDOW)
        self._packed = self._unpacked = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The unpacked pieces of the next packed bytes.

        Raises:
            UnscorableFile: the stream is damaged, or unpacks to too much.
        """
        self._packed += len(data)
        try:
            while data:
                if self._inflate.eof:
                    if not data.strip(b"\0"):
                        return  # padding
                    self._inflate = zlib.decompressobj(_GZIP_WINDOW)
                piece = self._inflate.decompress(data, _PIECE)
                data = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
                self._unpacked += len(piece)
                if self._unpacked > self._limit:
                    raise refuse_unpacked(self._limit)
                check_ratio(self._packed, self._unpacked)
                if piece:
                    yield piece
        except zlib.error:
            raise _damaged() from None

    def finish(self) -> None:
        """Raises UnscorableFile where the stream ends too early."""
        if not self._inflate.eof:
            raise _damaged()


def _damaged() -> UnscorableFile:
    return UnscorableFile("The gzip file is damaged or incomplete; pack it again.", "damaged-file")


def read_members(file: IO[bytes], limits: FileLimits) -> dict[str, bytes]:
    """The files of a zip by base name, without folders and the hidden files of macOS.

    Raises:
        UnscorableFile: it is damaged or encrypted, has too many files or two of one name, or unpacks to too much.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            entries = [entry for entry in archive.infolist() if _is_data(entry)]
            if len(archive.infolist()) > 10 * MAX_MEMBERS or len(entries) > MAX_MEMBERS:
                raise UnscorableFile(f"The zip has more than {MAX_MEMBERS} files.", "too-many-files", is_too_large=True)
            members: dict[str, bytes] = {}
            for entry in entries:
                name = entry.filename.replace("\\", "/").rpartition("/")[2]
                if entry.flag_bits & 1:
                    raise UnscorableFile("The zip is encrypted; send it without a password.", "damaged-file")
                if name in members:
                    raise UnscorableFile(f"The zip has two files {name[:80]!r}.", "two-of-a-name")
                free = limits.published_bytes - sum(map(len, members.values()))
                members[name] = _read_member(archive, entry, free, limits)
            return members
    except (zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error, RuntimeError, ValueError) as error:
        if isinstance(error, UnscorableFile):
            raise
        raise UnscorableFile("The zip is damaged or incomplete; pack it again.", "damaged-file") from None


def _is_data(entry: zipfile.ZipInfo) -> bool:
    parts = entry.filename.replace("\\", "/").split("/")
    return not entry.is_dir() and "__MACOSX" not in parts and not parts[-1].startswith(".")


def _read_member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, free: int, limits: FileLimits) -> bytes:
    pieces, size = [], 0
    with archive.open(entry) as member:
        while piece := member.read(_PIECE):
            size += len(piece)
            if size > free:
                raise refuse_unpacked(limits.published_bytes)
            check_ratio(entry.compress_size, size)
            pieces.append(piece)
    return b"".join(pieces)


def unpack_bytes(data: bytes, limits: FileLimits) -> bytes:
    """The content of a file that may be gzipped."""
    if not data.startswith(GZIP):
        return data
    unpacker, pieces, size = GzipUnpacker(limits), [], 0
    for piece in unpacker.feed(data):
        size += len(piece)
        if size > limits.published_bytes:
            raise refuse_unpacked(limits.published_bytes)
        pieces.append(piece)
    unpacker.finish()
    return b"".join(pieces)
