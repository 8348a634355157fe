"""Settings and opened stores of an installation, for processes other than Dagster's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from accident_reco.lifecycle.store import ModelStore
from accident_reco.settings import Settings
from accident_reco.storage.objects import ObjectStore, open_store
from accident_reco.storage.warehouse import Warehouse


@dataclass(frozen=True)
class OpenedPlatform:
    """A `contract.Platform` whose object store is opened at first use."""

    settings: Settings
    warehouse: Warehouse

    @cached_property
    def objects(self) -> ObjectStore:
        """The object store."""
        return open_store(self.settings.store)

    @cached_property
    def models(self) -> ModelStore:
        """Bundles and pointers."""
        return ModelStore(self.objects)
