"""What the predict service's routers share: settings, models, slots, warehouse, log. Made by the app, never global."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fastapi import Request

from accident_reco.contract import Model
from accident_reco.lifecycle.platform import OpenedPlatform
from accident_reco.lifecycle.store import ModelStore
from accident_reco.settings import Settings
from accident_reco.storage.objects import open_store
from accident_reco.storage.warehouse import Warehouse
from serving.common.guard import Guard, make_guard
from serving.common.metrics import Metrics
from serving.common.problems import Problem
from serving.predict.log_spill import Spill
from serving.predict.model_slot import Champion, Loader, ModelSlot, SlotMetrics
from serving.predict.prediction_log import Call, PredictionLog


class PredictionMetrics:
    """What Prometheus learns about the answers of all models."""

    def __init__(self, metrics: Metrics) -> None:
        self.count = metrics.counter("predictions", "Predictions answered", ("model", "version", "source", "reason"))
        self.labels = metrics.counter("feedback", "Labels by outcome: new, same or other", ("model", "outcome"))
        self.seconds = metrics.histogram(
            "prediction_duration_seconds", "Time to answer a valid request, without reading it", ("model", "source")
        )


@dataclass(frozen=True)
class Context:
    """Handed to every router factory of the service."""

    settings: Settings
    metrics: Metrics
    warehouse: Warehouse
    models: Mapping[str, Model]
    slots: Mapping[str, ModelSlot[Any]]
    guard: Guard
    log: PredictionLog
    predictions: PredictionMetrics

    def champion(self, model: str) -> Champion[Any]:
        """The version that answers for `model` now. Raises Problem 503 while none does."""
        slot = self.slots[model]
        current = slot.current
        if current is None:
            why = slot.problem or (
                "it is still being loaded" if slot.awaited or not slot.looked else "no version was promoted yet"
            )
            raise Problem(503, f"No {model} model serves: {why}.", kind="no-champion", headers={"Retry-After": "5"})
        return current

    def open_models(self) -> ModelStore:
        """The model store itself; reads of it block."""
        return ModelStore(open_store(self.settings.store))

    @cached_property
    def platform(self) -> OpenedPlatform:
        """The stores as a model's functions take them; reads of them block."""
        return OpenedPlatform(self.settings, self.warehouse)

    def record(
        self,
        champion: Champion[Any],
        request: Request,
        source: str,
        seconds: float,
        *,
        ids: Sequence[str],
        inputs: Sequence[Mapping[str, Any]],
        scores: Sequence[float | None],
        answers: Sequence[Any],
        reasons: Sequence[str] = (),
    ) -> None:
        """Count answered predictions, observe their time and log them; never blocks.

        Args:
            source: `json`, `csv` or `v2`.
            ids, inputs, scores, answers: one entry per prediction, as the log keeps them.
            reasons: how each answer came about, where a model has several ways.
        """
        if reasons:
            for reason in reasons:
                self.predictions.count.labels(champion.name, champion.version, source, reason).inc()
        else:
            self.predictions.count.labels(champion.name, champion.version, source, "").inc(len(ids))
        self.predictions.seconds.labels(champion.name, source).observe(seconds)
        if not ids:
            return
        state = request.scope["state"]
        self.log.enqueue(
            Call(
                model=champion.name,
                version=champion.version,
                request_id=state["request_id"],
                user_name=state["subject"],
                source=source,
                status=200,
                latency_ms=seconds * 1000,
                ids=ids,
                inputs=inputs,
                scores=scores,
                answers=answers,
            )
        )


def make_context(
    settings: Settings, metrics: Metrics, models: Mapping[str, Model], loaders: Mapping[str, Loader[Any]]
) -> Context:
    """Context with a slot per model; opens nothing."""
    slot_metrics = SlotMetrics(metrics)
    cache = ModelStore(open_store((settings.home / "cache" / "models").as_uri()))
    slots = {
        name: ModelSlot(
            name,
            loaders[name],
            lambda: ModelStore(open_store(settings.store)),
            cache,
            slot_metrics,
            settings.model_poll_seconds,
        )
        for name in models
    }
    warehouse = Warehouse(settings.database)
    log = PredictionLog(
        warehouse,
        metrics,
        Spill(settings.home / "spool" / "predictions", settings.log_spill_bytes),
        queue_rows=settings.log_queue_rows,
        retention_days=settings.log_retention_days,
        enabled=settings.log_predictions,
    )
    guard = make_guard(settings, warehouse)
    return Context(settings, metrics, warehouse, models, slots, guard, log, PredictionMetrics(metrics))
