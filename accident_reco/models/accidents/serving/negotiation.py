"""Media types of scored files: which uploads are accepted, and the form of the answer by the Accept header. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

MULTIPART: Final = "multipart/form-data"
ACCEPTED: Final = frozenset(
    {
        *("text/csv", "text/plain", "application/csv", "application/vnd.ms-excel"),
        *("application/gzip", "application/x-gzip", "application/zip", "application/x-zip-compressed"),
        *("application/vnd.apache.parquet", "application/parquet", "application/x-parquet"),
        *("application/octet-stream", MULTIPART),
    }
)
_ALIASES: Final = {
    "application/parquet": "application/vnd.apache.parquet",
    "application/x-parquet": "application/vnd.apache.parquet",
    "application/jsonl": "application/x-ndjson",
    "application/x-jsonlines": "application/x-ndjson",
    "application/json-lines": "application/x-ndjson",
    "application/jsonlines": "application/x-ndjson",
    "application/ndjson": "application/x-ndjson",
    "application/csv": "text/csv",
}
_MAX_RANGES: Final = 50


def get_media_type(content_type: str) -> str:
    """The media type of a Content-Type header, lower case, without parameters."""
    return content_type.partition(";")[0].strip().lower()


def choose_media_type(accept: str | None, offered: Sequence[str]) -> str | None:
    """The offered type that an Accept header prefers (RFC 9110, 12.5.1); the first without a header; None: none.

    Among equal weights the order of `offered` decides.
    """
    if not accept or not accept.strip():
        return offered[0]
    ranges = [_parse_range(part) for part in accept.split(",")[:_MAX_RANGES]]
    best, best_weight = None, 0.0
    for media_type in offered:
        # The most specific range that matches has the weight.
        matches = [(specific, weight) for name, weight in ranges if (specific := _match(name, media_type))]
        weight = max(matches, default=(0, 0.0))[1]
        if weight > best_weight:
            best, best_weight = media_type, weight
    return best


def _parse_range(part: str) -> tuple[str, float]:
    name, *parameters = part.split(";")
    weight = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "q":
            try:
                weight = min(max(float(value), 0.0), 1.0)
            except ValueError:
                weight = 0.0
    name = name.strip().lower()
    return _ALIASES.get(name, name), weight


def _match(name: str, media_type: str) -> int:
    """How specifically a range names a type: 3 itself, 2 its kind, 1 any, 0 not at all."""
    if name == media_type:
        return 3
    if name == f"{media_type.partition('/')[0]}/*":
        return 2
    return 1 if name == "*/*" else 0
