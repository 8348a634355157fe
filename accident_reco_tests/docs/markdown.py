"""Pieces of Markdown that the generated pages are made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Lines = Iterator[str]


def table(heading: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> Lines:
    """A Markdown table; cells lose what would break it."""
    yield f"\n| {' | '.join(heading)} |\n|{'---|' * len(heading)}"
    for row in rows:
        yield "| " + " | ".join(" ".join(str(cell or "").replace("|", "\\|").split()) for cell in row) + " |"


def code(text: object) -> str:
    """Text as a code span."""
    return f"`{text}`"
