"""Context of road users whose accident is spread over the lines of a file: a bounded window of lines in memory.

The lines of one accident share `Num_Acc`, those of one vehicle `id_vehicule` (or `num_veh`). A block of rows leaves the
window once `lines` further lines have been read, so that lines of an accident may be that far apart; a file of at most
twice as many lines is seen whole. The context itself is computed in `features.context`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.features.context import PEDESTRIAN, build_accident_context
from accident_reco.models.accidents.features.context_columns import CONTEXT_COLUMNS
from accident_reco.models.accidents.scoring.files.rows import RoadUserRows

_USER_COLUMNS: Final = ("catu", "sexe", "an_nais", "secu1", "secu2", "secu3")
_VEHICLE_NAMES: Final = frozenset({"id_vehicule", "num_veh"})
_UNKNOWN: Final = -1


class AccidentWindow:
    """Completes the rows of one file with their context, in their order."""

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self._emitted: deque[RoadUserRows] = deque()
        self._pending: deque[RoadUserRows] = deque()
        self._gone = _NumberSet()

    def add(self, rows: RoadUserRows) -> Iterator[RoadUserRows]:
        """Rows that are complete after `rows` have been read."""
        if "Num_Acc" not in rows.columns or not _VEHICLE_NAMES & rows.texts.keys():
            yield _leave_as_stated(rows)
            return
        self._pending.append(rows)
        if _count(self._pending) >= 2 * self._lines:
            yield from self._emit(_count(self._pending) - self._lines)

    def finish(self) -> Iterator[RoadUserRows]:
        """The rows that are left."""
        yield from self._emit(_count(self._pending))

    def _emit(self, at_most: int) -> Iterator[RoadUserRows]:
        if not _count(self._pending):
            yield from self._pending
            self._pending.clear()
            return
        context, is_full = _compute_context([*self._emitted, *self._pending])
        begin = _count(self._emitted)
        while self._pending and len(self._pending[0]) <= at_most:
            rows = self._pending.popleft()
            at_most -= len(rows)
            at = slice(begin, begin + len(rows))
            begin += len(rows)
            yield self._complete(rows, {name: values[at] for name, values in context.items()}, is_full[at])
            self._emitted.append(_keep_for_context(rows))
        while self._emitted and _count(self._emitted) - len(self._emitted[0]) >= self._lines:
            self._gone.add(self._emitted.popleft().columns["Num_Acc"])

    def _complete(
        self, rows: RoadUserRows, context: dict[str, NDArray[np.int32]], is_full: NDArray[np.bool_]
    ) -> RoadUserRows:
        numbers = rows.columns["Num_Acc"]
        apart = self._gone.contains(numbers)
        columns, notes = dict(rows.columns), list(rows.notes)
        for row in np.flatnonzero(apart).tolist():
            text = f"other lines of this accident are more than {self._lines} lines before; sort the file by Num_Acc"
            notes[row] = f"{notes[row]} | {text}" if notes[row] else text
        stated = np.ones(len(rows), dtype=bool)
        for name in CONTEXT_COLUMNS:
            own = rows.columns.get(name)
            stated &= own >= 0 if own is not None else False
            columns[name] = context[name] if own is None else np.where(own >= 0, own, context[name])
        is_full = (is_full & ~apart) | stated
        return RoadUserRows(rows.line, columns, rows.texts, rows.keys, notes, is_full, rows.errors)


def _count(blocks: Sequence[RoadUserRows] | deque[RoadUserRows]) -> int:
    return sum(map(len, blocks))


def _keep_for_context(rows: RoadUserRows) -> RoadUserRows:
    needed = {"Num_Acc", "catv", *_USER_COLUMNS}
    columns = {name: values for name, values in rows.columns.items() if name in needed}
    texts = {name: rows.texts[name] for name in _VEHICLE_NAMES if name in rows.texts}
    return RoadUserRows(rows.line, columns, texts, {}, [], rows.is_full)


class _NumberSet:
    """Accident numbers that have left the window: sorted arrays, each more than twice as long as the next."""

    def __init__(self) -> None:
        self._sorted: list[NDArray[np.int64]] = []

    def add(self, numbers: NDArray[np.int64]) -> None:
        self._sorted.append(np.unique(numbers[numbers > 0]))
        while len(self._sorted) > 1 and len(self._sorted[-2]) <= 2 * len(self._sorted[-1]):
            self._sorted[-2:] = [np.union1d(*self._sorted[-2:])]

    def contains(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        found = np.zeros(len(numbers), dtype=bool)
        for known in self._sorted:
            if len(known):
                found |= known[np.minimum(np.searchsorted(known, numbers), len(known) - 1)] == numbers
        return found


def _leave_as_stated(rows: RoadUserRows) -> RoadUserRows:
    """Rows of a file without accident numbers or names of vehicles: their context is what they state."""
    stated = [rows.columns.get(name) for name in CONTEXT_COLUMNS]
    if all(values is not None for values in stated):
        rows.is_full = np.logical_and.reduce([values >= 0 for values in stated if values is not None])
    return rows


def _compute_context(blocks: Sequence[RoadUserRows]) -> tuple[dict[str, NDArray[np.int32]], NDArray[np.bool_]]:
    """Context columns of all rows of the blocks, shape (n,) each, and whether each row's context is complete."""
    first = blocks[0].columns
    users: dict[str, NDArray[Any]] = {
        name: _join(blocks, name).astype(np.int64) for name in _USER_COLUMNS if name in first
    }
    numbers = _join(blocks, "Num_Acc")
    known = numbers > 0
    # A row without a number is an accident of its own.
    keys = np.where(known, numbers, -1 - np.arange(len(numbers)))
    _, accident = np.unique(keys, return_inverse=True)
    n_accidents = int(accident.max(initial=-1)) + 1
    vehicle, vehicle_accident = _number_vehicles(accident, _encode_vehicles(blocks, accident, n_accidents))
    vehicles: dict[str, NDArray[np.int64]] = {}
    if "catv" in first:
        vehicles["catv"] = _take_first_known(_join(blocks, "catv").astype(np.int64), vehicle, len(vehicle_accident))
    context = build_accident_context(accident, vehicle, users, vehicle_accident, vehicles, n_accidents)
    for values in context.values():
        values[~known] = _UNKNOWN
    if "catu" not in users or "catv" not in first:
        return context, np.zeros(len(numbers), dtype=bool)
    lacks_vehicle = (vehicle < 0) & (users["catu"] != PEDESTRIAN)
    incomplete = np.bincount(accident[lacks_vehicle], minlength=n_accidents) > 0
    return context, known & ~incomplete[accident]


def _join(blocks: Sequence[RoadUserRows], name: str) -> NDArray[Any]:
    return np.concatenate([block.columns[name] for block in blocks])


def _encode_vehicles(
    blocks: Sequence[RoadUserRows], accident: NDArray[np.int64], n_accidents: int
) -> NDArray[np.int64]:
    """Code of each row's vehicle name, shape (n,), -1: none.

    `id_vehicule`, or `num_veh` in accidents where a line lacks the id and every line has the letter.
    """
    names = [name for name in ("id_vehicule", "num_veh") if name in blocks[0].texts]
    coded = [_factorize([block.texts[name] for block in blocks]) for name in names]
    if len(coded) == 1:
        return coded[0]
    ids, letters = coded
    letters = np.where(letters < 0, -1, letters + ids.max(initial=-1) + 1)
    lacks_id = np.bincount(accident[ids < 0], minlength=n_accidents) > 0
    lacks_letter = np.bincount(accident[letters < 0], minlength=n_accidents) > 0
    by_letter = (lacks_id & ~lacks_letter)[accident]
    return np.where(by_letter | (ids < 0), letters, ids)


def _factorize(texts: Sequence[Any]) -> NDArray[np.int64]:
    """Codes of the texts of all blocks together, shape (n,), -1 where missing."""
    import pyarrow as pa

    coded = pa.chunked_array(texts).unify_dictionaries()
    parts = [chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False) for chunk in coded.chunks]
    return np.concatenate(parts).astype(np.int64)


def _number_vehicles(
    accident: NDArray[np.int64], name: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Position of each row's vehicle, shape (n,), -1: none, and the accident of each vehicle."""
    named = np.flatnonzero(name >= 0)
    width = int(name.max(initial=0)) + 1
    keys, inverse = np.unique(accident[named] * width + name[named], return_inverse=True)
    vehicle = np.full(len(accident), -1, dtype=np.int64)
    vehicle[named] = inverse
    return vehicle, keys // width


def _take_first_known(values: NDArray[np.int64], group: NDArray[np.int64], groups: int) -> NDArray[np.int64]:
    """First value of each group that is known, shape (groups,); -1 where there is none."""
    rows = np.flatnonzero((values >= 0) & (group >= 0))[::-1]
    found = np.full(groups, _UNKNOWN, dtype=np.int64)
    found[group[rows]] = values[rows]
    return found
