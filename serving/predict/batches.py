"""Computes small requests that wait at the same time in one call of the model: a row then costs a fraction of a call.

No request waits for others to come: a batch is what the event loop has received by the time it has read all requests
that are there. Each request's result is that of the request alone; where a common call fails, each is computed by
itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple, NoReturn

from serving.predict.model_slot import Champion
from serving.predict.rollout.work import I, R, Work, compute_merged

REQUEST_ROWS: Final = 16
"""Rows of the largest request that is computed with others: larger ones gain nothing and would delay them."""
BATCH_ROWS: Final = 64
"""Rows of a call; other events are handled between two."""

Computed = Callable[[], R]
"""Returns the result, or raises what computing it raised."""


class _Waiting(NamedTuple):
    version: Champion[Any]
    work: Work[Any, Any]
    rows: int
    computed: asyncio.Future[Computed[Any]]


class Batches:
    """Requests of one event loop."""

    def __init__(self) -> None:
        self._waiting: deque[_Waiting] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def compute(self, version: Champion[Any], work: Work[I, R]) -> Computed[R]:
        """Compute a request, with others where its method allows it. The result is taken, or raised, by a call."""
        division = work.method.division
        rows = 0 if division is None else division.size(work.inputs)
        if not 0 < rows <= REQUEST_ROWS:
            return _run(partial(work.call, version))
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop = loop
            self._waiting.clear()  # of a loop that has ended
        computed: asyncio.Future[Computed[R]] = loop.create_future()
        if not self._waiting:
            # Behind the requests that are ready now, so that they can join.
            loop.call_soon(self._compute_next)
        self._waiting.append(_Waiting(version, work, rows, computed))
        return await computed

    def _compute_next(self) -> None:
        kinds: dict[Any, list[_Waiting]] = {}
        rows = 0
        while self._waiting and rows < BATCH_ROWS:
            one = self._waiting.popleft()
            if not one.computed.done():  # its client is gone
                rows += one.rows
                kinds.setdefault((id(one.version), one.work.kind), []).append(one)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._compute_next)
        for some in kinds.values():
            for one, computed in zip(some, _compute_together(some), strict=True):
                one.computed.set_result(computed)


def _compute_together(some: list[_Waiting]) -> list[Computed[Any]]:
    version, work, *_ = some[0]
    division = work.method.division
    if len(some) > 1 and division is not None:
        sizes = [one.rows for one in some]
        parts = compute_merged(version, [one.work for one in some], lambda result: division.divide(result, sizes))
        if parts is not None:
            return [partial(_return, part) for part in parts]
    return [_run(partial(one.work.call, version)) for one in some]


def _run(call: Callable[[], R]) -> Computed[R]:
    try:
        return partial(_return, call())
    except Exception as error:
        return partial(_raise, error)


def _return(result: R) -> R:
    return result


def _raise(error: Exception) -> NoReturn:
    raise error
