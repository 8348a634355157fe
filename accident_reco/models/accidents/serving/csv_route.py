"""`POST /predict/<model>/csv`: one road user per line, streamed in both directions in constant memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, Final

from fastapi import APIRouter, Request
from prometheus_client import Counter
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from accident_reco.models.accidents.serving.csv_rows import ANSWER_HEADER, CsvTable, LineSplitter, write_rows
from accident_reco.models.accidents.serving.csv_scoring import BATCH_ROWS, score_lines
from accident_reco.models.accidents.serving.routes import build_log_rows
from serving.common.app import build_router
from serving.common.problems import Problem, responses
from serving.common.spool import Spool
from serving.predict.context import Context
from serving.predict.model_slot import Champion

# Maximum wait of a batch for the writer of the prediction log to catch up.
_MAX_LOG_WAIT_SECONDS: Final = 2.0
_CSV_TYPES: Final = ("text/csv", "text/plain", "application/csv", "application/vnd.ms-excel")


def get_path(model: str) -> str:
    """Path of the endpoint of a model."""
    return f"/predict/{model}/csv"


def router(context: Context, model: str) -> APIRouter:
    """Router with the endpoint of one model."""
    routes = build_router("predict", requires=context.guard.require("predict"))
    outcomes = context.metrics.counter("csv_rows", "Lines of uploaded CSV by model and outcome", ("model", "outcome"))

    @routes.post(
        get_path(model),
        name=f"predict_{model}_csv",
        summary="Predict for a CSV of road users",
        description="First line: official BAAC column names. One road user per line; the answer has one line for each, "
        "with its line number, its keys, and the prediction or the error of the line. All lines are scored by the "
        "version that is the champion at the first line.",
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
    async def predict_csv(request: Request) -> Response:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type not in _CSV_TYPES:
            raise Problem(415, "Send CSV, with Content-Type: text/csv.", kind="not-csv")
        champion = context.champion(model)
        upload = _Upload(context, champion, request, outcomes)
        # Errors of the header are a 422; after it the answer has begun.
        await upload.read_header()
        return _DuplexResponse(
            upload.answer(),
            media_type="text/csv; charset=utf-8",
            headers={"x-model-version": champion.version, "x-data-source": _to_ascii(champion.data_source)},
        )

    return routes


class _DuplexResponse(StreamingResponse):
    """Streams the answer while the request is still being received.

    Starlette's own response would listen for a disconnect meanwhile and consume the rest of the upload.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.stream_response(send)


class _Upload:
    """One upload: reads lines, scores batches, spools the answer."""

    def __init__(self, context: Context, champion: Champion[Any], request: Request, outcomes: Counter) -> None:
        self._context = context
        self._champion = champion
        self._request = request
        self._outcomes = outcomes
        self._stream = request.stream()
        self._lines = LineSplitter()
        self._ahead: list[str] = []
        self._number = 1
        self._table: CsvTable | None = None

    async def read_header(self) -> None:
        """Read up to the first line.

        Raises:
            Problem: 422, there is no valid header.
        """
        async for data in self._stream:
            self._ahead += self._lines.feed(data)
            if self._ahead:
                break
        else:
            self._ahead += self._lines.feed(b"", last=True)
        if not self._ahead:
            raise Problem(422, "There is no header line.", kind="no-header")
        self._table = CsvTable(self._ahead.pop(0))

    async def answer(self) -> AsyncIterator[bytes]:
        """Lines of the answer; the upload is read whether or not the client reads the answer."""
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
                while len(batch) >= BATCH_ROWS:
                    await self._score(batch[:BATCH_ROWS], spool)
                    batch = batch[BATCH_ROWS:]
            batch += self._lines.feed(b"", last=True)
            if batch:
                await self._score(batch, spool)
        except ClientDisconnect:
            return
        except Problem as problem:
            # The answer has begun: its last line reports the error, then the stream is aborted.
            row = [self._number + 1, *([""] * (len(ANSWER_HEADER) - 2)), f"the upload ends here: {problem.detail}"]
            spool.write(write_rows([row]))
            raise
        finally:
            spool.finish()

    async def _score(self, lines: list[str], spool: Spool) -> None:
        first = self._number + 1
        self._number += len(lines)
        started = time.perf_counter()
        assert self._table is not None
        # In a thread, so that other requests are served meanwhile.
        scored = await asyncio.to_thread(score_lines, self._table, self._champion.model, first, lines)
        spool.write(await asyncio.to_thread(write_rows, scored.rows))
        self._outcomes.labels(self._champion.name, "predicted").inc(len(scored.users))
        self._outcomes.labels(self._champion.name, "refused").inc(scored.rejected)
        if scored.users:
            await self._log(time.perf_counter() - started, scored.inputs, scored.users)

    async def _log(self, seconds: float, inputs: list[dict[str, Any]], users: list[dict[str, Any]]) -> None:
        deadline = time.monotonic() + _MAX_LOG_WAIT_SECONDS
        while self._context.log.is_filling and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        self._context.record(self._champion, self._request, "csv", seconds, **build_log_rows(inputs, users))


def _to_ascii(value: str) -> str:
    return value.encode("ascii", "replace").decode()
