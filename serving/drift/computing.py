"""Drift checks on request: one at a time per model; concurrent requests share its result."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from accident_reco.contract import Model, Platform
from serving.common.metrics import Metrics

RUN_ID = "drift-service"


class Computations:
    """Runs the code of the scheduled check in a thread; the first check imports its heavy parts."""

    def __init__(self, platform: Platform, models: Mapping[str, Model], metrics: Metrics) -> None:
        self._platform = platform
        self._models = models
        self._running: dict[str, asyncio.Task[dict[str, Any]]] = {}
        self._count = metrics.counter("drift_computations", "Drift checks on request", ("model", "outcome"))
        self._seconds = metrics.histogram(
            "drift_computation_duration_seconds",
            "Duration of a drift check on request",
            ("model",),
            buckets=(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
        )

    async def compute(self, model: str) -> dict[str, Any]:
        """The stored row of a new report. Raises NothingToCompare, SQLAlchemyError or StoreError."""
        running = self._running.get(model)
        if running is None:
            running = asyncio.create_task(self._run(model))
            self._running[model] = running
            running.add_done_callback(lambda _: self._running.pop(model, None))
        # A client that disconnects must not cancel the check for the others.
        return await asyncio.shield(running)

    async def _run(self, model: str) -> dict[str, Any]:
        started = time.perf_counter()
        try:
            row = await asyncio.to_thread(self._check, model)
        except Exception:
            self._count.labels(model, "failed").inc()
            raise
        self._count.labels(model, row["status"]).inc()
        self._seconds.labels(model).observe(time.perf_counter() - started)
        return row

    def _check(self, model: str) -> dict[str, Any]:
        from accident_reco.drift.run_check import CheckRequest, run_check

        return run_check(self._models[model], self._platform, CheckRequest(requested_by_api=True), RUN_ID).row
