"""Resources that the drift service's routers share; built by the app, never global."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from accident_reco.contract import ColumnText
from accident_reco.settings import Settings
from accident_reco.storage.objects import ObjectStore, open_store
from accident_reco.storage.warehouse import Warehouse
from serving.common.guard import Guard
from serving.common.metrics import Metrics
from serving.drift.computing import Computations
from serving.drift.gauges import Gauges


@dataclass(frozen=True)
class Context:
    """Passed to every router factory of the service.

    Args:
        column_texts: model → column → its name and codes in words.
        partitions: model → stored partitions; reads the store, which blocks.
    """

    settings: Settings
    models: tuple[str, ...]
    metrics: Metrics
    warehouse: Warehouse
    guard: Guard
    gauges: Gauges
    computations: Computations
    alert_secret: Callable[[], str]
    column_texts: Callable[[str], Mapping[str, ColumnText]]
    partitions: Callable[[str], Sequence[int]]

    def open_objects(self) -> ObjectStore:
        """Opens the object store; its reads block."""
        return open_store(self.settings.store)
