"""Drift checks on request: one at a time per model; concurrent requests share its result."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accident_reco.contract import Model, Platform
from serving.common.metrics import Metrics

RUN_ID = "drift-service"


@dataclass(frozen=True)
class CheckOptions:
    """What a request checks.

    Args:
        share: share of drifted features at which the window has drifted; None: the setting.
        partition: stored partition to check; None: the latest window.
        against: partition to compare it with; None: the champion's reference.
    """

    share: float | None = None
    partition: int | None = None
    against: int | None = None


class Computations:
    """Runs the code of the scheduled check in a thread; the first check imports its heavy parts."""

    def __init__(self, platform: Platform, models: Mapping[str, Model], metrics: Metrics) -> None:
        self._platform = platform
        self._models = models
        self._running: dict[tuple[str, CheckOptions], asyncio.Task[dict[str, Any]]] = {}
        self._slot = asyncio.Semaphore(1)
        self._count = metrics.counter("drift_computations", "Drift checks on request", ("model", "outcome"))
        self._seconds = metrics.histogram(
            "drift_computation_duration_seconds",
            "Duration of a drift check on request",
            ("model",),
            buckets=(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
        )

    async def compute(self, model: str, options: CheckOptions | None = None) -> dict[str, Any]:
        """The stored row of a new report. Raises NothingToCompare, SQLAlchemyError or StoreError."""
        options = options or CheckOptions()
        key = model, options
        running = self._running.get(key)
        if running is None:
            running = asyncio.create_task(self._run(model, options))
            self._running[key] = running
            running.add_done_callback(lambda _: self._running.pop(key, None))
        # A client that disconnects must not cancel the check for the others.
        return await asyncio.shield(running)

    async def _run(self, model: str, options: CheckOptions) -> dict[str, Any]:
        started = time.perf_counter()
        try:
            async with self._slot:  # each reads the whole window: options of one's own must not multiply it
                row = await asyncio.to_thread(self._check, model, options)
        except Exception:
            self._count.labels(model, "failed").inc()
            raise
        self._count.labels(model, row["status"]).inc()
        self._seconds.labels(model).observe(time.perf_counter() - started)
        return row

    def _check(self, model: str, options: CheckOptions) -> dict[str, Any]:
        from accident_reco.drift.run_check import CheckRequest, run_check

        request = CheckRequest(options.partition, options.against, requested_by_api=True, share=options.share)
        return run_check(self._models[model], self._platform, request, RUN_ID).row
