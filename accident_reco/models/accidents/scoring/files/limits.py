"""Limits of a scored file, and the error that names the one it exceeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MAX_LINE: Final = 16 * 1024
MAX_MEMBERS: Final = 16
# Published CSV compresses to a tenth; above this ratio (after the first MiB) an archive is no data.
MAX_RATIO: Final = 200


@dataclass(frozen=True)
class FileLimits:
    """Limits of one file.

    Args:
        rows: road users.
        unpacked_bytes: size of `.gz`, `.zip` and Parquet when unpacked.
        published_bytes: size of the four published tables together, which are joined in memory.
        window_lines: distance within which the lines of an accident may lie in a CSV or Parquet file.
    """

    rows: int = 5_000_000
    unpacked_bytes: int = 1024**3
    published_bytes: int = 192 * 1024**2
    window_lines: int = 50_000


class UnscorableFile(ValueError):
    """A file cannot be scored; the message states the cause and the fix.

    Args:
        kind: short name of the cause.
        is_too_large: whether a limit of size is exceeded.
    """

    def __init__(self, message: str, kind: str, *, is_too_large: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.is_too_large = is_too_large


def refuse_rows(limit: int) -> UnscorableFile:
    """The error of a file with more rows than the limit."""
    return UnscorableFile(
        f"A file may have at most {limit:,} road users; split it.", "too-many-rows", is_too_large=True
    )


def refuse_unpacked(limit: int) -> UnscorableFile:
    """The error of an archive that unpacks to more than the limit."""
    return UnscorableFile(
        f"The file unpacks to more than {limit:,} bytes; split it.", "unpacked-too-large", is_too_large=True
    )


def check_ratio(packed: int, unpacked: int) -> None:
    """Raises UnscorableFile where so many bytes come from so few that they are no data."""
    if unpacked > 1024**2 and unpacked > MAX_RATIO * max(packed, 1):
        raise UnscorableFile(
            f"The file unpacks to more than {MAX_RATIO} times its size, which no table of accidents does.",
            "compressed-too-much",
            is_too_large=True,
        )
