"""What the predict service's routers share: settings, slots, warehouse, metrics. Made by the app, never global."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accident_reco.lifecycle.store import ModelStore
from accident_reco.settings import Settings
from accident_reco.storage.objects import open_store
from accident_reco.storage.warehouse import Warehouse
from serving.common.guard import Guard, make_guard
from serving.common.metrics import Metrics
from serving.common.problems import Problem
from serving.predict.model_slot import Champion, Loader, ModelSlot, SlotMetrics
from serving.predict.prediction_log import InferenceLog


@dataclass(frozen=True)
class Context:
    """Handed to every router factory of the service."""

    settings: Settings
    metrics: Metrics
    warehouse: Warehouse
    slots: Mapping[str, ModelSlot[Any]]
    guard: Guard
    log: InferenceLog

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


def make_context(settings: Settings, metrics: Metrics, loaders: Mapping[str, Loader[Any]]) -> Context:
    """Context with a slot per loader; opens nothing."""
    slot_metrics = SlotMetrics(metrics)
    cache = ModelStore(open_store((settings.home / "cache" / "models").as_uri()))
    slots = {
        name: ModelSlot(
            name,
            loader,
            lambda: ModelStore(open_store(settings.store)),
            cache,
            slot_metrics,
            settings.model_poll_seconds,
        )
        for name, loader in loaders.items()
    }
    warehouse = Warehouse(settings.database)
    log = InferenceLog(
        warehouse,
        metrics,
        queue_rows=settings.log_queue_rows,
        retention_days=settings.log_retention_days,
        enabled=settings.log_predictions,
    )
    return Context(settings, metrics, warehouse, slots, make_guard(settings, warehouse), log)
