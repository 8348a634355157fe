"""Scores files of road users: `score_paths` for files of this machine, `FileScoring` for the parts of an upload."""

from __future__ import annotations

import io
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from accident_reco.models.accidents.features.builder import TEXT_COLUMNS
from accident_reco.models.accidents.scoring.files.accident_window import AccidentWindow
from accident_reco.models.accidents.scoring.files.answers import CsvWriter, ScoredRows
from accident_reco.models.accidents.scoring.files.limits import FileLimits, UnscorableFile, refuse_rows
from accident_reco.models.accidents.scoring.files.parquet_blocks import read_parquet_blocks
from accident_reco.models.accidents.scoring.files.published import read_published_rows
from accident_reco.models.accidents.scoring.files.raw_blocks import CsvBlocks, RawBlock
from accident_reco.models.accidents.scoring.files.rows import (
    RoadUserRows,
    RowReader,
    repair_birth_years_after_context,
    to_objects,
)
from accident_reco.models.accidents.scoring.files.unpacking import (
    GZIP,
    PARQUET,
    ZIP,
    GzipUnpacker,
    read_members,
    unpack_bytes,
)
from accident_reco.models.accidents.scoring.scorer import Answer

_PIECE: Final = 1024**2
MakeIds = Callable[[int], Sequence[str]]
"""Number of rows → their prediction ids."""


class Scorer(Protocol):
    """What scores columns: `AccidentScorer`."""

    def answer(self, columns: Mapping[str, NDArray[Any]]) -> Answer:
        """Probability, class and uncertainty of every row."""


def make_no_ids(count: int) -> Sequence[str]:
    """Ids of predictions that are not logged: none."""
    return [""] * count


class FileScoring:
    """Scores one file whose raw blocks arrive one after the other; rows are returned in their order.

    Args:
        make_ids: ids of the predictions of so many rows.
    """

    def __init__(self, scorer: Scorer, limits: FileLimits, make_ids: MakeIds = make_no_ids) -> None:
        self._scorer = scorer
        self._limits = limits
        self._make_ids = make_ids
        self._reader = RowReader()
        self._window = AccidentWindow(limits.window_lines)
        self._rows = 0

    def add(self, raw: RawBlock) -> Iterator[ScoredRows]:
        """The rows whose answer is known after this block.

        Raises:
            UnscorableFile: the file has too many rows.
        """
        self._rows += len(raw.line) + len(raw.errors)
        if self._rows > self._limits.rows:
            raise refuse_rows(self._limits.rows)
        for rows in self._window.add(self._reader.read(raw)):
            yield self._score(rows)

    def finish(self) -> Iterator[ScoredRows]:
        """The rows that are left at the end of the file."""
        for rows in self._window.finish():
            yield self._score(rows)

    def score_tables(self, tables: Mapping[str, bytes]) -> Iterator[ScoredRows]:
        """Every road user of the four published files (name → content).

        Raises:
            UnscorableFile: a table is missing, twice there or unreadable, or there are too many rows.
        """
        for rows in read_published_rows(tables, self._limits):
            yield self._score(rows)

    def _score(self, rows: RoadUserRows) -> ScoredRows:
        started = time.perf_counter()
        repair_birth_years_after_context(rows)
        answer = score_rows(self._scorer, rows)
        return ScoredRows(rows, answer, self._make_ids(len(rows)), time.perf_counter() - started)


def score_rows(scorer: Scorer, rows: RoadUserRows) -> Answer:
    """Answer for canonical rows; with no known column every input is unknown."""
    if not len(rows):
        nothing = np.empty(0)
        return Answer(nothing, nothing.astype(bool), nothing.astype(bool))
    columns = {name: values for name, values in rows.columns.items() if name != "Num_Acc"}
    columns |= {name: to_objects(rows.texts[name]) for name in TEXT_COLUMNS if name in rows.texts}
    return scorer.answer(columns or {"catu": np.full(len(rows), -1, dtype=np.int32)})


def score_paths(
    paths: Sequence[Path], scorer: Scorer, limits: FileLimits | None = None, make_ids: MakeIds = make_no_ids
) -> Iterator[ScoredRows]:
    """Score the road users of one file, or of the four published files of a year.

    One file: CSV with one road user per line, `.csv.gz`, Parquet, or a zip that holds one CSV or the four published
    files; several: the four published files, each of which may be gzipped. The kind is recognised by content.

    Raises:
        UnscorableFile: a file cannot be read or exceeds a limit.
        OSError: a file cannot be opened.
    """
    limits = limits or FileLimits()
    scoring = FileScoring(scorer, limits, make_ids)
    if len(paths) > 1:
        yield from score_members({path.name: path.read_bytes() for path in paths}, scoring, limits)
        return
    (path,) = paths
    with path.open("rb") as file:
        yield from score_file(file, scoring, limits)


def score_file(file: IO[bytes], scoring: FileScoring, limits: FileLimits) -> Iterator[ScoredRows]:
    """Score an open file that can be sought, as `score_paths` does one file.

    Raises:
        UnscorableFile: it cannot be read or exceeds a limit.
    """
    head = file.read(4)
    file.seek(0)
    if head == ZIP:
        yield from score_members(read_members(file, limits), scoring, limits)
    elif head == PARQUET:
        yield from score_blocks(read_parquet_blocks(file, limits), scoring)
    else:
        yield from score_blocks(read_csv_blocks(iter(lambda: file.read(_PIECE), b""), limits), scoring)


def score_stream(
    source: BinaryIO, scorer: Scorer, limits: FileLimits | None = None, make_ids: MakeIds = make_no_ids
) -> Iterator[bytes]:
    """The answer's CSV for an open file, in chunks, as the predict service returns it; forms as in `score_paths`.

    Raises:
        UnscorableFile: it cannot be read or exceeds a limit.
    """
    limits, writer = limits or FileLimits(), CsvWriter()
    with tempfile.SpooledTemporaryFile(_PIECE) as copy:
        if not source.seekable():
            shutil.copyfileobj(source, copy, _PIECE)
            copy.seek(0)
        file: IO[bytes] = source if source.seekable() else copy
        # What is wrong with the header is known before anything is returned.
        begin = writer.begin()
        for scored in score_file(file, FileScoring(scorer, limits, make_ids), limits):
            yield begin + writer.write(scored)
            begin = b""
        if begin:
            yield begin


def score_blocks(blocks: Iterable[RawBlock], scoring: FileScoring) -> Iterator[ScoredRows]:
    """Score all blocks of a file."""
    for raw in blocks:
        yield from scoring.add(raw)
    yield from scoring.finish()


def score_members(members: Mapping[str, bytes], scoring: FileScoring, limits: FileLimits) -> Iterator[ScoredRows]:
    """Score several files that belong together: one file of road users, or the four published tables.

    Raises:
        UnscorableFile: they are neither.
    """
    contents = {name: unpack_bytes(data, limits) for name, data in members.items()}
    if len(contents) == 1:
        (data,) = contents.values()
        is_parquet = data.startswith(PARQUET)
        blocks = read_parquet_blocks(io.BytesIO(data), limits) if is_parquet else read_csv_blocks([data], limits)
        yield from score_blocks(blocks, scoring)
    elif contents:
        yield from scoring.score_tables(contents)
    else:
        raise UnscorableFile("There is no file to score.", "no-file")


def read_csv_blocks(pieces: Iterable[bytes], limits: FileLimits) -> Iterator[RawBlock]:
    """Raw blocks of a CSV, gzipped or not, that arrives in pieces."""
    blocks, unpacker, is_begun = CsvBlocks(), None, False
    for data in pieces:
        if not is_begun:
            is_begun = True
            unpacker = GzipUnpacker(limits) if data.startswith(GZIP) else None
        for piece in unpacker.feed(data) if unpacker else (data,):
            yield from blocks.feed(piece)
    if unpacker:
        unpacker.finish()
    yield from blocks.feed(b"", last=True)
