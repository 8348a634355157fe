"""Reads the figures from Prometheus. Queries are constants: nothing of a request becomes part of one."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from typing import Any, Final

import httpx

from serving.console.figures import FIGURES, POINTS, Figure, Lines, Reading

SECONDS: Final = 10.0


class Prometheus:
    """The figures of a Prometheus server.

    Args:
        client: with the server's base URL.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def read(self, hours: float) -> Reading:
        """The figures of the last hours; a reading with a problem where Prometheus does not answer."""
        try:
            found = await asyncio.gather(*(self._query(figure, hours, time.time()) for figure in FIGURES))
        except (httpx.HTTPError, ValueError, KeyError) as error:
            problem = f"Prometheus at {self._client.base_url} does not answer ({type(error).__name__})."
            return Reading({}, "Prometheus", problem)
        return Reading({figure.key: lines for figure, lines in zip(FIGURES, found, strict=True)}, "Prometheus")

    async def _query(self, figure: Figure, hours: float, now: float) -> Lines:
        step = hours * 3600 / POINTS
        parameters = {
            # A rate needs several scrapes in its range.
            "query": figure.expression.replace("{rate}", f"{max(120, math.ceil(step))}s"),
            "start": f"{now - hours * 3600 + step:.0f}",
            "end": f"{now:.0f}",
            "step": f"{step:.3f}",
        }
        answer = await self._client.get("/api/v1/query_range", params=parameters, timeout=SECONDS)
        answer.raise_for_status()
        return read_matrix(answer.json()["data"]["result"], figure, now, step)


def read_matrix(result: list[Mapping[str, Any]], figure: Figure, now: float, step: float) -> Lines:
    """Lines of a matrix that `query_range` returned."""
    lines: dict[str, list[float | None]] = {}
    for series in result:
        values: list[float | None] = [None] * POINTS
        for at, text in series["values"]:
            index = POINTS - 1 - round((now - float(at)) / step)
            value = float(text)
            if 0 <= index < POINTS and math.isfinite(value):
                values[index] = value
        lines[series["metric"].get(figure.legend) or figure.title] = values
    return lines
