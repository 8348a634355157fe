"""Resources that the predict service's routers share; built by the app, never global."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson
from fastapi import Request

from accident_reco.contract import Model
from accident_reco.lifecycle.platform import OpenedPlatform
from accident_reco.lifecycle.store import ModelStore
from accident_reco.settings import Settings
from accident_reco.storage.objects import open_store
from accident_reco.storage.warehouse import Warehouse
from serving.common.guard import Guard, build_guard
from serving.common.metrics import Metrics, remember_labels
from serving.common.problems import Problem
from serving.predict.batches import Batches
from serving.predict.log_spill import Spill
from serving.predict.model_slot import Champion, Loader, ModelSlot, SlotMetrics
from serving.predict.prediction_log import Call, PredictionLog
from serving.predict.rollout.slot import RolloutMetrics, RolloutSlot
from serving.predict.rollout.work import I, R, Served, Work


class PredictionMetrics:
    """Metrics of the predictions of all models."""

    def __init__(self, metrics: Metrics) -> None:
        count = metrics.counter("predictions", "Predictions served", ("model", "version", "source", "reason"))
        self.find_count = remember_labels(count)
        self.labels = metrics.counter("feedback", "Reported outcomes: new, same or other", ("model", "outcome"))
        seconds = metrics.histogram(
            "prediction_duration_seconds", "Time to serve a valid request, without reading it", ("model", "source")
        )
        self.find_seconds = remember_labels(seconds)


@dataclass(frozen=True)
class Context:
    """Passed to every router factory of the service."""

    settings: Settings
    metrics: Metrics
    warehouse: Warehouse
    models: Mapping[str, Model]
    slots: Mapping[str, ModelSlot[Any]]
    rollouts: Mapping[str, RolloutSlot]
    guard: Guard
    log: PredictionLog
    predictions: PredictionMetrics
    batches: Batches

    def champion(self, model: str) -> Champion[Any]:
        """The version that serves `model` now. Raises Problem 503 while there is none."""
        slot = self.slots[model]
        current = slot.current
        if current is None:
            is_loading = slot.is_champion_named or not slot.is_polled
            reason = slot.problem or ("it is still being loaded" if is_loading else "no version was promoted yet")
            raise Problem(503, f"No {model} model serves: {reason}.", kind="no-champion", headers={"Retry-After": "5"})
        return current

    def serve(self, champion: Champion[Any], request: Request, work: Work[I, R], user: object = None) -> Served[R]:
        """Compute a request with the champion, or with the challenger of a rollout that answers for its user.

        Args:
            user: whom the request is about; by default the account that sent it.
        """
        rollout = self.rollouts.get(champion.name)
        if rollout is None:
            return Served(champion, work.call(champion))
        return rollout.serve(champion, _get_account_key(request) if user is None else f"user:{user}", work)

    async def serve_together(self, champion: Champion[Any], request: Request, work: Work[I, R]) -> Served[R]:
        """As `serve` for the account that sent the request, computed together with others that are there."""
        rollout = self.rollouts.get(champion.name)
        if rollout is None:
            return Served(champion, (await self.batches.compute(champion, work))())
        version = rollout.choose(champion, _get_account_key(request))
        return rollout.accept(champion, version, work, await self.batches.compute(version, work))

    def compare(
        self,
        served: Served[R],
        request: Request,
        work: Work[I, R],
        ids: Sequence[str],
        inputs: Sequence[Mapping[str, Any]],
    ) -> None:
        """Let the other version of a rollout compute a sampled request, too. Never blocks.

        Args:
            ids, inputs: one entry per prediction, as the log stores them.
        """
        rollout = self.rollouts.get(served.version.name)
        if rollout is not None and rollout.running is not None:
            rollout.compare(served, work, request.scope["state"]["request_id"], ids, inputs)

    def open_models(self) -> ModelStore:
        """Opens the model store; its reads block."""
        return ModelStore(open_store(self.settings.store))

    @cached_property
    def platform(self) -> OpenedPlatform:
        """The stores as the functions of a model expect them; their reads block."""
        return OpenedPlatform(self.settings, self.warehouse)

    def record(
        self,
        champion: Champion[Any],
        request: Request,
        source: str,
        seconds: float,
        *,
        ids: Sequence[str],
        inputs: Sequence[Mapping[str, Any] | orjson.Fragment],
        scores: Sequence[float | None],
        answers: Sequence[Any],
        reasons: Sequence[str] = (),
    ) -> None:
        """Count served predictions, observe their time and log them. Never blocks.

        Args:
            source: `json`, `csv` or `v2`.
            seconds: time to serve the request.
            ids, inputs, scores, answers: one entry per prediction, as the log stores them.
            reasons: strategy of each prediction, where a model has several.
        """
        if reasons:
            for reason in reasons:
                self.predictions.find_count(champion.name, champion.version, source, reason).inc()
        else:
            self.predictions.find_count(champion.name, champion.version, source, "").inc(len(ids))
        self.predictions.find_seconds(champion.name, source).observe(seconds)
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


def build_context(
    settings: Settings, metrics: Metrics, models: Mapping[str, Model], loaders: Mapping[str, Loader[Any]]
) -> Context:
    """The context with one slot per model; opens no resources."""
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
    warehouse = Warehouse(settings.database, must_exist=True)
    rollout_metrics = RolloutMetrics(metrics)
    rollouts = {
        name: RolloutSlot(
            slots[name],
            model.serving(),
            loaders[name],
            lambda: ModelStore(open_store(settings.store)),
            warehouse,
            rollout_metrics,
            settings.rollout_sample,
            settings.model_poll_seconds,
        )
        for name, model in models.items()
        if settings.rollout_mode(name) != "direct"
    }
    log = PredictionLog(
        warehouse,
        metrics,
        Spill(settings.home / "spool" / "predictions", settings.log_spill_bytes),
        queue_rows=settings.log_queue_rows,
        retention_days=settings.log_retention_days,
        enabled=settings.log_predictions,
    )
    guard = build_guard(settings, warehouse)
    return Context(
        settings, metrics, warehouse, models, slots, rollouts, guard, log, PredictionMetrics(metrics), Batches()
    )


def _get_account_key(request: Request) -> str:
    return f"account:{request.scope['state']['subject']}"
