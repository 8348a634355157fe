"""`POST /predict/accidents/csv`: one road user a line, streamed in and out in flat memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from accident_reco.models.accidents.serving.columns import to_columns
from accident_reco.models.accidents.serving.csv_rows import ANSWER_FIELDS, ANSWER_HEADER, Lines, Row, Table, write_rows
from accident_reco.models.accidents.serving.routes import MODEL, logged, predictions_of
from serving.common.app import build_router
from serving.common.problems import Problem, responses
from serving.common.spool import Spool
from serving.predict.context import Context
from serving.predict.model_slot import Champion

PATH: Final = "/predict/accidents/csv"
ROWS_AT_ONCE: Final = 1000
# How long a batch waits for room in the prediction log before its rows are dropped there (and counted).
_LOG_PATIENCE_SECONDS: Final = 2.0
_CSV_TYPES: Final = ("text/csv", "text/plain", "application/csv", "application/vnd.ms-excel")


def router(context: Context) -> APIRouter:
    """The endpoint."""
    routes = build_router("predict", requires=context.guard.require("predict"))
    predictions = context.metrics.counter("csv_rows", "Lines of uploaded CSV by outcome", ("outcome",))

    @routes.post(
        PATH,
        summary="Predict for a CSV of road users",
        description="First line: official BAAC column names. One road user a line; the answer has one line for each, "
        "with its line number, the keys that it came with, and the prediction or what is wrong with the line. The "
        "version that answers is the champion at the first line, for all lines.",
        response_class=Response,
        responses={
            200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "One line for each line"},
            **responses(413, 415, 422, 503),
        },
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"text/csv": {"schema": {"type": "string"}, "example": "catu;sexe;catv\n1;1;7\n3;2;-1\n"}},
            }
        },
    )
    async def predict_accidents_csv(request: Request) -> Response:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type not in _CSV_TYPES:
            raise Problem(415, "Send CSV, with Content-Type: text/csv.", kind="not-csv")
        champion = context.champion(MODEL)
        upload = _Upload(context, champion, request, predictions)
        # What is wrong with the header is a proper 422; after it the answer has begun.
        await upload.read_header()
        return _DuplexResponse(
            upload.answer(),
            media_type="text/csv; charset=utf-8",
            headers={"x-model-version": champion.version, "x-data-source": _ascii(champion.data_source)},
        )

    return routes


class _DuplexResponse(StreamingResponse):
    """Streams out while the request streams in.

    Starlette's own would listen for the client's departure meanwhile and swallow the rest of the upload.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.stream_response(send)


class _Upload:
    """One upload: reads lines, scores batches, spools the answer."""

    def __init__(self, context: Context, champion: Champion[Any], request: Request, outcomes: Any) -> None:
        self._context = context
        self._champion = champion
        self._request = request
        self._outcomes = outcomes
        self._stream = request.stream()
        self._lines = Lines()
        self._ahead: list[str] = []
        self._number = 1
        self._table: Table | None = None

    async def read_header(self) -> None:
        """Read as far as the first line. Raises Problem 422."""
        async for data in self._stream:
            self._ahead += self._lines.feed(data)
            if self._ahead:
                break
        else:
            self._ahead += self._lines.feed(b"", last=True)
        if not self._ahead:
            raise Problem(422, "There is no header line.", kind="no-header")
        self._table = Table(self._ahead.pop(0))

    async def answer(self) -> AsyncIterator[bytes]:
        """The answer's lines; reading the upload goes on whether or not the client reads."""
        spool = Spool()
        task = asyncio.create_task(self._work(spool))
        try:
            async for data in spool.read():
                yield data
            await task
        finally:
            task.cancel()
            spool.close()

    async def _work(self, spool: Spool) -> None:
        try:
            spool.write(write_rows([ANSWER_HEADER]))
            batch: list[str] = self._ahead
            async for data in self._stream:
                batch += self._lines.feed(data)
                while len(batch) >= ROWS_AT_ONCE:
                    await self._score(batch[:ROWS_AT_ONCE], spool)
                    batch = batch[ROWS_AT_ONCE:]
            batch += self._lines.feed(b"", last=True)
            if batch:
                await self._score(batch, spool)
        except ClientDisconnect:
            return
        except Problem as problem:
            # The answer is under way: say it in the last line, then break the stream off, so that nobody misses it.
            row = [self._number + 1, *([""] * (len(ANSWER_HEADER) - 2)), f"the upload ends here: {problem.detail}"]
            spool.write(write_rows([row]))
            raise
        finally:
            spool.finish()

    async def _score(self, lines: list[str], spool: Spool) -> None:
        first = self._number + 1
        self._number += len(lines)
        started = time.perf_counter()
        # In a thread: other requests are answered meanwhile.
        rows, good, users = await asyncio.to_thread(self._score_now, first, lines)
        inputs = [row.values for row in good]
        answers = iter(users)
        out: list[list[Any]] = []
        for row in rows:
            if row.error is not None:
                out.append([row.line, *row.keys, *([""] * len(ANSWER_FIELDS)), row.error])
                continue
            user = next(answers)
            out.append([row.line, *row.keys, *(user[name] for name in ANSWER_FIELDS), ""])
        spool.write(await asyncio.to_thread(write_rows, out))
        self._outcomes.labels("predicted").inc(len(good))
        self._outcomes.labels("refused").inc(len(rows) - len(good))
        if good:
            await self._log(time.perf_counter() - started, inputs, users)

    def _score_now(self, first: int, lines: list[str]) -> tuple[list[Row], list[Row], list[dict[str, Any]]]:
        assert self._table is not None
        numbered = ((number, line) for number, line in enumerate(lines, first) if line.strip())
        rows = [self._table.row(number, line) for number, line in numbered]
        good = [row for row in rows if row.error is None]
        if not good:
            return rows, good, []
        columns = to_columns([row.values or {"catu": None} for row in good])
        return rows, good, predictions_of(self._champion.model.answer(columns))

    async def _log(self, seconds: float, inputs: list[dict[str, Any]], users: list[dict[str, Any]]) -> None:
        patience = time.monotonic() + _LOG_PATIENCE_SECONDS
        while self._context.log.room < len(users) and time.monotonic() < patience:
            await asyncio.sleep(0.02)
        self._context.record(self._champion, self._request, "csv", seconds, **logged(inputs, users))


def _ascii(value: str) -> str:
    return value.encode("ascii", "replace").decode()
