"""The form of a file's answer by the Accept header."""

from __future__ import annotations

import pytest

from accident_reco.models.accidents.scoring.files.answers import WRITERS
from accident_reco.models.accidents.serving.negotiation import choose_media_type, get_media_type

CSV, LINES, PARQUET = WRITERS


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, CSV),
        ("", CSV),
        ("*/*", CSV),
        ("text/*", CSV),
        ("application/*", LINES),
        ("application/x-ndjson", LINES),
        ("application/jsonl", LINES),
        ("APPLICATION/VND.APACHE.PARQUET", PARQUET),
        ("application/x-parquet;q=0.5, text/csv;q=0.4", PARQUET),
        ("*/*;q=0.1, application/x-ndjson;q=0.2", LINES),
        ("text/csv;q=0, */*", LINES),
        ("application/json, */*;q=0.5", CSV),
        ("application/json", None),
        ("text/csv;q=0", None),
        ("text/csv;q=x", None),
    ],
)
def test_accept(accept: str | None, chosen: str | None) -> None:
    """The highest weight wins, the more specific range counts, a weight of zero excludes."""
    assert choose_media_type(accept, tuple(WRITERS)) == chosen


def test_media_type() -> None:
    """Parameters and case do not matter."""
    assert get_media_type('Multipart/Form-Data; boundary="x"') == "multipart/form-data"
