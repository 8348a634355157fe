"""One uploaded file: its pieces in, scored rows to the answer's spool and to the prediction log.

CSV and `.csv.gz` bodies are scored while they arrive. Zip, Parquet and multipart need the whole body first: it waits in
a temporary file.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import IO, Any, Final

from fastapi import Request
from prometheus_client import Counter
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect

from accident_reco.models.accidents.scoring.files.answers import AnswerWriter, ScoredRows
from accident_reco.models.accidents.scoring.files.limits import MAX_MEMBERS, FileLimits, UnscorableFile
from accident_reco.models.accidents.scoring.files.raw_blocks import CsvBlocks, RawBlock
from accident_reco.models.accidents.scoring.files.score import FileScoring, score_file, score_members
from accident_reco.models.accidents.scoring.files.unpacking import GZIP, PARQUET, ZIP, GzipUnpacker
from accident_reco.models.accidents.serving.log_inputs import build_inputs
from accident_reco.models.accidents.serving.routes import make_ids
from serving.common.problems import Problem
from serving.common.spool import MEMORY_BYTES, Spool
from serving.predict.context import Context
from serving.predict.model_slot import Champion
from serving.predict.prediction_log import BATCH_ROWS

# Bytes that are scored in one go: large enough that the change of threads costs nothing.
_PIECE_BYTES: Final = 1024**2
# An upload with more lines than this waits for its turn.
_SMALL_LINES: Final = 20_000
_LARGE_AT_ONCE: Final = 8
# Maximum wait of a batch for the writer of the prediction log to catch up.
_MAX_LOG_WAIT_SECONDS: Final = 2.0
_MAGIC_BYTES: Final = 4


class Turns:
    """Bounds the memory of uploads together: few large ones at once, and one at a time that is joined in memory."""

    def __init__(self) -> None:
        self.large = asyncio.Semaphore(_LARGE_AT_ONCE)
        self.joined = asyncio.Semaphore(1)


class Upload:
    """One upload; `begin` before the answer, `run` beside it."""

    def __init__(
        self,
        context: Context,
        champion: Champion[Any],
        request: Request,
        outcomes: Counter,
        limits: FileLimits,
        turns: Turns,
        writer: AnswerWriter,
    ) -> None:
        self._context = context
        self._champion = champion
        self._request = request
        self._outcomes = outcomes
        self._limits = limits
        self._turns = turns
        self._writer = writer
        self._stream = request.stream()
        self._scoring = FileScoring(champion.model, limits, make_ids)
        self._csv = CsvBlocks()
        self._unpacker: GzipUnpacker | None = None
        self._ahead: list[RawBlock] = []
        self._whole: Iterator[ScoredRows] | None = None
        self._first: ScoredRows | None = None
        self._lines = self._last_line = 0
        self._holds = AsyncExitStack()
        self._has_turn = False
        self.spool = Spool()

    async def begin(self, *, is_multipart: bool) -> None:
        """Read up to the header, or the whole body where the form requires it.

        Raises:
            Problem: 413 or 422, the file cannot be scored.
        """
        try:
            if is_multipart:
                await self._read_form()
            else:
                await self._read_head()
        except UnscorableFile as error:
            await self.close()
            raise _to_problem(error) from None
        except BaseException:
            await self.close()
            raise

    async def run(self) -> None:
        """Score the upload to its end; the upload is read whether or not the client reads the answer."""
        try:
            self.spool.write(self._writer.begin())
            if self._whole is None:
                await self._score_stream()
            else:
                await self._score_whole(self._whole)
            self.spool.write(await asyncio.to_thread(self._writer.end))
        except ClientDisconnect:
            return
        except (Problem, UnscorableFile) as error:
            # The answer has begun: its last row reports the error, then the stream is aborted.
            problem = _to_problem(error) if isinstance(error, UnscorableFile) else error
            self.spool.write(self._writer.fail(self._last_line + 1, f"the upload ends here: {problem.detail}"))
            raise problem from None
        finally:
            self.spool.finish()

    async def close(self) -> None:
        """Give up the turn, and the disk space."""
        await self._holds.aclose()
        self.spool.close()

    async def _read_head(self) -> None:
        """Decide the form by the first bytes; a CSV is read up to its header."""
        head = b""
        async for data in self._stream:
            head += data
            if len(head) >= _MAGIC_BYTES:
                break
        if head.startswith((ZIP, PARQUET)):
            await self._spool_body(head)
            return
        if head.startswith(GZIP):
            self._unpacker = GzipUnpacker(self._limits)
        self._ahead += self._feed(head)
        while not self._csv.has_header:
            try:
                data = await anext(self._stream)
            except StopAsyncIteration:
                self._ahead += self._feed(b"", last=True)
                break
            self._ahead += self._feed(data)

    def _feed(self, data: bytes, last: bool = False) -> list[RawBlock]:
        pieces = [data] if self._unpacker is None else self._unpacker.feed(data)
        blocks = [block for piece in pieces for block in self._csv.feed(piece)]
        if last:
            if self._unpacker is not None:
                self._unpacker.finish()
            blocks += self._csv.feed(b"", last=True)
        return blocks

    async def _spool_body(self, head: bytes) -> None:
        file = self._holds.enter_context(tempfile.SpooledTemporaryFile(MEMORY_BYTES))  # noqa: SIM115 - closed by `close`
        file.write(head)
        async for data in self._stream:
            file.write(data)
        await self._begin_whole(file)

    async def _read_form(self) -> None:
        form = await self._request.form(max_files=MAX_MEMBERS, max_fields=MAX_MEMBERS)
        self._holds.push_async_callback(form.close)
        parts = [(name, part) for name, part in form.multi_items() if isinstance(part, UploadFile)]
        if not parts:
            raise UnscorableFile("There is no file in the form; send it as a part with a file name.", "no-file")
        if len(parts) == 1:
            await self._begin_whole(parts[0][1].file)
            return
        if sum(part.size or 0 for _, part in parts) > self._limits.published_bytes:
            raise UnscorableFile(
                f"The files have more than {self._limits.published_bytes:,} bytes together.",
                "body-too-large",
                is_too_large=True,
            )
        members: dict[str, bytes] = {}
        for name, part in parts:
            label = part.filename or name
            members[label if label not in members else f"{label} ({len(members) + 1})"] = await part.read()
        await self._take_turn(self._turns.joined)
        await self._peek(score_members(members, self._scoring, self._limits))

    async def _begin_whole(self, file: IO[bytes]) -> None:
        file.seek(0)
        is_zip = file.read(_MAGIC_BYTES) == ZIP
        file.seek(0)
        await self._take_turn(self._turns.joined if is_zip else self._turns.large)
        await self._peek(score_file(file, self._scoring, self._limits))

    async def _peek(self, scored: Iterator[ScoredRows]) -> None:
        """Score the first rows, so that what is wrong with the file is known before the answer begins."""
        self._whole = scored
        self._first = await asyncio.to_thread(next, scored, None)

    async def _take_turn(self, turns: asyncio.Semaphore) -> None:
        if not self._has_turn:
            self._has_turn = True
            await self._holds.enter_async_context(turns)

    async def _score_whole(self, whole: Iterator[ScoredRows]) -> None:
        first, self._first = self._first, None
        if first is not None:
            await self._answer(first)
            del first
            async for scored in _read_ahead(whole):
                await self._answer(scored)

    async def _score_stream(self) -> None:
        ahead = self._ahead
        self._ahead = []
        await self._score_blocks(ahead)
        waiting: list[bytes] = []
        size = 0
        async for data in self._stream:
            waiting.append(data)
            size += len(data)
            if size >= _PIECE_BYTES:
                await self._score_pieces(waiting)
                waiting, size = [], 0
        await self._score_pieces(waiting, last=True)

    async def _score_pieces(self, pieces: list[bytes], last: bool = False) -> None:
        await self._score_blocks(await asyncio.to_thread(self._feed, b"".join(pieces), last))
        if last:
            async for scored in _read_ahead(self._scoring.finish()):
                await self._answer(scored)

    async def _score_blocks(self, blocks: Sequence[RawBlock]) -> None:
        for block in blocks:
            self._lines += len(block.line) + len(block.errors)
            if self._lines > _SMALL_LINES:
                await self._take_turn(self._turns.large)
            async for scored in _read_ahead(self._scoring.add(block)):
                await self._answer(scored)

    async def _answer(self, scored: ScoredRows) -> None:
        """Spool and log scored rows. In threads, so that other requests are served meanwhile."""
        self.spool.write(await asyncio.to_thread(self._writer.write, scored))
        self._last_line = max(self._last_line, *scored.rows.line[-1:].tolist(), *scored.rows.errors, 0)
        self._outcomes.labels(self._champion.name, "predicted").inc(len(scored.rows))
        self._outcomes.labels(self._champion.name, "refused").inc(len(scored.rows.errors))
        await self._log(scored)

    async def _log(self, scored: ScoredRows) -> None:
        count = len(scored.rows)
        inputs = await asyncio.to_thread(build_inputs, scored.rows)
        scores = scored.answer.probability.tolist()
        answers = ["grave" if one else "light" for one in scored.answer.severe.tolist()]
        for start in range(0, count, BATCH_ROWS):
            rows = slice(start, min(start + BATCH_ROWS, count))
            deadline = time.monotonic() + _MAX_LOG_WAIT_SECONDS
            while self._context.log.is_filling and time.monotonic() < deadline:
                await asyncio.sleep(0.02)
            self._context.record(
                self._champion,
                self._request,
                "csv",
                scored.seconds * (rows.stop - start) / count,
                ids=scored.ids[rows],
                inputs=inputs[rows],
                scores=scores[rows],
                answers=answers[rows],
            )


async def scored_upload(upload: Upload) -> AsyncIterator[bytes]:
    """The answer to an upload, as it is written."""
    task = asyncio.create_task(upload.run())
    try:
        async for data in upload.spool.read():
            yield data
        await task
    finally:
        task.cancel()
        await asyncio.wait([task])
        await upload.close()


async def _read_ahead(iterator: Iterator[ScoredRows]) -> AsyncIterator[ScoredRows]:
    """The items of an iterator that computes them, each in a thread while the one before it is used."""
    following = _compute_next(iterator)
    while (item := await following) is not None:
        following = _compute_next(iterator)
        yield item


def _compute_next(iterator: Iterator[ScoredRows]) -> asyncio.Future[ScoredRows | None]:
    following = asyncio.ensure_future(asyncio.to_thread(next, iterator, None))
    # Its error is nobody's any more when the client has gone meanwhile.
    following.add_done_callback(lambda done: done.cancelled() or done.exception())
    return following


def _to_problem(error: UnscorableFile) -> Problem:
    return Problem(413 if error.is_too_large else 422, str(error), kind=error.kind)
