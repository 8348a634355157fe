"""Scores lines of a CSV file: batches of an upload, and whole files on this machine. Knows no request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from accident_reco.models.accidents.scoring.scorer import AccidentScorer
from accident_reco.models.accidents.serving.columns import to_columns
from accident_reco.models.accidents.serving.csv_rows import (
    ANSWER_FIELDS,
    ANSWER_HEADER,
    CsvTable,
    LineSplitter,
    write_rows,
)
from accident_reco.models.accidents.serving.routes import build_predictions
from serving.common.problems import Problem

BATCH_ROWS: Final = 1000
_CHUNK_BYTES: Final = 1 << 16


@dataclass(frozen=True)
class ScoredLines:
    """Result of a batch of lines.

    Args:
        rows: cells of the answer, one row for each line that is not blank.
        inputs: values of the valid lines.
        users: their predictions, in the same order.
    """

    rows: list[list[Any]]
    inputs: list[dict[str, Any]]
    users: list[dict[str, Any]]

    @property
    def rejected(self) -> int:
        """Number of invalid lines."""
        return len(self.rows) - len(self.users)


def score_lines(table: CsvTable, scorer: AccidentScorer, first: int, lines: Sequence[str]) -> ScoredLines:
    """Score a batch of lines; an invalid line has its error instead of a prediction.

    Args:
        first: number of the first line in the file.
    """
    read = [table.row(number, line) for number, line in enumerate(lines, first) if line.strip()]
    inputs = [row.values for row in read if row.error is None]
    users = build_predictions(scorer.answer(to_columns([row or {"catu": None} for row in inputs]))) if inputs else []
    predicted = iter(users)
    rows: list[list[Any]] = []
    for row in read:
        if row.error is not None:
            rows.append([row.line, *row.keys, *([""] * len(ANSWER_FIELDS)), row.error])
            continue
        user = next(predicted)
        rows.append([row.line, *row.keys, *(user[name] for name in ANSWER_FIELDS), ""])
    return ScoredLines(rows, inputs, users)


def score_file(scorer: AccidentScorer, source: BinaryIO) -> Iterator[bytes]:
    """The answer's CSV for a file, in chunks, as `POST /predict/<model>/csv` returns it.

    Raises:
        ValueError: there is no header with columns of the model, or a line is too long.
    """
    splitter = LineSplitter()
    table: CsvTable | None = None
    number, waiting = 1, list[str]()
    try:
        for lines in _read_lines(splitter, source):
            waiting += lines
            if table is None and waiting:
                table = CsvTable(waiting.pop(0))
                yield write_rows([ANSWER_HEADER])
            while table is not None and len(waiting) >= BATCH_ROWS:
                batch, waiting = waiting[:BATCH_ROWS], waiting[BATCH_ROWS:]
                yield write_rows(score_lines(table, scorer, number + 1, batch).rows)
                number += len(batch)
        if table is None:
            raise ValueError("there is no header line")
        if waiting:
            yield write_rows(score_lines(table, scorer, number + 1, waiting).rows)
    except Problem as problem:
        raise ValueError(str(problem.detail)) from None


def _read_lines(splitter: LineSplitter, source: BinaryIO) -> Iterator[list[str]]:
    while data := source.read(_CHUNK_BYTES):
        yield list(splitter.feed(data))
    yield list(splitter.feed(b"", last=True))
