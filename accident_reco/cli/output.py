"""Output of the commands: tables and colour on a terminal, tab-separated lines in a pipe, JSON on request."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO

STYLES = {
    "green": {"ready", "ok", "success", "promoted", "done", "stable", "active"},
    "yellow": {"warning", "queued", "running", "started", "insufficient_data", "disabled", "restarting"},
    "red": {"not ready", "problem", "failure", "failed", "refused", "drift", "revoked", "expired", "given up"},
}
"""Colour → states that are shown in it."""
STATES = {"state", "status", "value"}
"""Columns with states."""


@dataclass(frozen=True)
class Table:
    """Rows under a heading.

    Args:
        name: one word; the first field of each line in a pipe.
        empty: shown on a terminal instead of a table without rows.
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    empty: str = "none"


def show(document: Any, as_json: bool, *tables: Table) -> None:
    """Print a result.

    Args:
        document: the whole result, for JSON.
        tables: the same for people.
    """
    if as_json:
        print_json(document)
    elif sys.stdout.isatty():
        _print_tables(tables)
    else:
        for table in tables:
            for row in table.rows:
                print_line("\t".join([table.name, *(_text(cell).replace("\t", " ") for cell in row)]))


def print_json(document: Any) -> None:
    """Print JSON; times and paths as text."""
    print_line(json.dumps(document, indent=2, ensure_ascii=False, default=str))


def print_line(text: str) -> None:
    """Print a line on the standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Print a line for people on the error output, apart from the result."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


@contextmanager
def spinner(text: str) -> Iterator[None]:
    """Show that work is in progress, on a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


@contextmanager
def progress(text: str) -> Iterator[Callable[[str], None]]:
    """A function that shows the current step, on a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status(text) as status:
        yield lambda step: status.update(f"{text} {step}")


@contextmanager
def reading_bar(source: BinaryIO, size: int | None, text: str) -> Iterator[BinaryIO]:
    """A file whose reading moves a bar on the error output, where that is a terminal."""
    if size is None or not sys.stderr.isatty() or sys.stdout.isatty():
        yield source
        return
    from rich.console import Console
    from rich.progress import wrap_file

    with wrap_file(source, total=size, description=text, console=Console(stderr=True), transient=True) as watched:
        yield watched


def _print_tables(tables: Sequence[Table]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console()
    for table in tables:
        if not table.rows:
            console.print(f"[bold]{table.name}[/bold]: {table.empty}", highlight=False)
            continue
        shown = RichTable(title=table.name, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
        for column in table.columns:
            shown.add_column(column, overflow="fold")
        for row in table.rows:
            cells = zip(table.columns, row, strict=True)
            shown.add_row(
                *(Text(_text(cell), style=_style(cell) if column in STATES else "") for column, cell in cells)
            )
        console.print(shown)


def format_time(at: str | None) -> str:
    """An ISO time to the second, without the zone: the heading names it."""
    return "" if at is None else datetime.fromisoformat(at).strftime("%Y-%m-%d %H:%M:%S")


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, datetime):
        return f"{cell:%Y-%m-%d %H:%M:%S}"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell).replace("\n", " ")


def _style(cell: Any) -> str:
    return next((style for style, words in STYLES.items() if str(cell) in words), "")
