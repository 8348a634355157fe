"""The four published files, of one year or several, as rows to score: recognised by content, joined as in ingestion."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.codebook import TABLES
from accident_reco.models.accidents.data import schema
from accident_reco.models.accidents.features.context import PEDESTRIAN
from accident_reco.models.accidents.scoring.files.limits import FileLimits, UnscorableFile, refuse_rows, refuse_unpacked
from accident_reco.models.accidents.scoring.files.parquet_blocks import to_csv
from accident_reco.models.accidents.scoring.files.raw_blocks import BLOCK_LINES, KEYS
from accident_reco.models.accidents.scoring.files.rows import RoadUserRows, read_key, to_arrow
from accident_reco.models.accidents.scoring.files.unpacking import PARQUET

if TYPE_CHECKING:
    from accident_reco.models.accidents.data.victims import RawFile, ScoredTables

_USERS: Final = "usagers"
_MAX_NOTES: Final = 12
# Columns that a table has in every year and no other one has.
_MARKS: Final = {
    "caracteristiques": frozenset({"lum", "atm", "col"}),
    "lieux": frozenset({"catr", "surf", "situ"}),
    "vehicules": frozenset({"catv", "manv", "choc"}),
    _USERS: frozenset({"catu", "place", "sexe"}),
}


def recognise_table(data: bytes) -> str | None:
    """The table of a published file by its header; None for others, such as tables that are joined already."""
    head = data[: 16 * 1024].lstrip(b"\xef\xbb\xbf")
    text = (
        data[: 16 * 1024].decode("utf-16", "replace")
        if head[:2] in (b"\xff\xfe", b"\xfe\xff")
        else (head.decode("utf-8", "replace"))
    )
    line = text.replace("\0", "").partition("\n")[0].partition("\r")[0]
    cells = next(csv.reader([line], delimiter=max(";,\t", key=line.count)), [])
    names = {schema.to_official_name(cell) for cell in cells}
    found = [table for table, marks in _MARKS.items() if marks <= names]
    return found[0] if len(found) == 1 else None


def read_published_rows(tables: Mapping[str, bytes], limits: FileLimits) -> Iterator[RoadUserRows]:
    """Rows of the road users of four published files (name → content, CSV or Parquet), in the order of `usagers`.

    Raises:
        UnscorableFile: a table is missing, twice there or unreadable, or there is too much to join in memory.
    """
    from accident_reco.models.accidents.data.reading import UnreadableFile
    from accident_reco.models.accidents.data.victims import merge_for_scoring

    files = _assign(tables, limits)
    users = files[_USERS].data
    if users.count(b"\n") + users.count(b"\r") > 2 * limits.rows + 2:
        raise refuse_rows(limits.rows)
    try:
        merged = merge_for_scoring(files)
    except UnreadableFile as error:
        raise UnscorableFile(str(error), "unreadable-table") from None
    if len(merged.line) > limits.rows:
        raise refuse_rows(limits.rows)
    return _to_blocks(merged)


def _assign(tables: Mapping[str, bytes], limits: FileLimits) -> dict[str, RawFile]:
    from accident_reco.models.accidents.data.victims import RawFile

    found: dict[str, RawFile] = {}
    for name, data in tables.items():
        content = to_csv(data, limits) if data.startswith(PARQUET) else data
        table = recognise_table(content)
        if table is None:
            raise UnscorableFile(
                f"{name[:80]}: this is none of the four published files ({', '.join(TABLES)}); send those four, or one "
                f"file with one road user per line",
                "unknown-table",
            )
        if table in found:
            raise UnscorableFile(
                f"{name[:80]} and {found[table].name[:80]} are both {table} files; send one of each", "two-of-a-table"
            )
        found[table] = RawFile(name, content)
    if missing := [table for table in TABLES if table not in found]:
        raise UnscorableFile(
            f"The files lack {', '.join(missing)}; send the four published files, or one file with one road user per "
            f"line",
            "missing-table",
        )
    if sum(len(file.data) for file in found.values()) > limits.published_bytes:
        raise refuse_unpacked(limits.published_bytes)
    return found


def _to_blocks(merged: ScoredTables) -> Iterator[RoadUserRows]:
    columns, line = merged.victims, merged.line.astype(np.int64)
    notes, errors, lacks_vehicle = _sort_notes(merged, columns["Num_Acc"])
    on_foot = columns["catu"] == PEDESTRIAN
    incomplete = columns["Num_Acc"][np.isin(line, list(lacks_vehicle)) & ~on_foot]
    is_full = ~np.isin(columns["Num_Acc"], np.concatenate([incomplete, merged.orphans]))
    at = np.searchsorted(merged.raw.line, merged.line)
    keys = {name: read_key(merged.raw.columns[name].take(at)) for name in KEYS if name in merged.raw.columns}
    texts = {name: to_arrow(columns.pop(name)) for name in schema.TEXT & columns.keys()}
    left = sorted(errors)
    for start in range(0, max(len(line), 1), BLOCK_LINES):
        rows = slice(start, start + BLOCK_LINES)
        is_last = start + BLOCK_LINES >= len(line)
        end = None if is_last else int(line[start + BLOCK_LINES])
        of_block = [number for number in left if end is None or number < end]
        left = left[len(of_block) :]
        yield RoadUserRows(
            line[rows],
            {name: values[rows] for name, values in columns.items()},
            {name: values[rows] for name, values in texts.items()},
            {name: values[rows] for name, values in keys.items()},
            notes[rows],
            is_full[rows],
            {number: errors[number] for number in of_block},
        )


def _sort_notes(merged: ScoredTables, numbers: NDArray[np.int64]) -> tuple[list[str], dict[int, str], set[int]]:
    """Notes of each row (those of its accident included), errors by line, and lines of users without a vehicle."""
    errors: dict[int, str] = {}
    of_line: dict[int, list[str]] = {}
    of_accident: dict[int, list[str]] = {}
    lacks_vehicle: set[int] = set()
    for _, table, file, line, number, _, _, rule, disposition, message, _, _ in merged.notes.rows:
        text = str(message).removeprefix(f"{file} line {line}: ").rstrip(".")
        if table == _USERS:
            if disposition == "refused":
                errors[int(str(line))] = text
                continue
            of_line.setdefault(int(str(line)), []).append(text)
            if rule == "no_vehicle":
                lacks_vehicle.add(int(str(line)))
        elif number != -1:
            of_accident.setdefault(int(str(number)), []).append(f"{table}: {text}")
    notes = [""] * len(numbers)
    if of_line or of_accident:
        for row, (line, number) in enumerate(zip(merged.line.tolist(), numbers.tolist(), strict=True)):
            # Several roads of an accident may have the same remark.
            found = list(dict.fromkeys([*of_line.get(line, ()), *of_accident.get(number, ())]))
            if found:
                notes[row] = " | ".join(found[:_MAX_NOTES])
    return notes, errors, lacks_vehicle
