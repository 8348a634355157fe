"""Resources: configuration that builds the platform's plain objects, so that domain code never sees Dagster."""

from functools import cached_property

import dagster as dg

from accident_reco.defs.steps import give_way
from accident_reco.lifecycle.store import ModelStore
from accident_reco.settings import Settings
from accident_reco.storage.objects import ObjectStore, open_store
from accident_reco.storage.warehouse import Warehouse


class Platform(dg.ConfigurableResource):
    """The platform's settings and what they lead to: object store, warehouse, model store.

    Empty by default: everything comes from the environment when a run starts. Tests pass a home of their own.
    """

    home: str = ""

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Steps begin with this resource: here they take their place behind what cannot wait."""
        give_way(context.run)

    @cached_property
    def settings(self) -> Settings:
        """Typed settings; raises SettingsError naming every problem."""
        return Settings.load(home=self.home) if self.home else Settings.load()

    @cached_property
    def objects(self) -> ObjectStore:
        """The object store."""
        return open_store(self.settings.store)

    @cached_property
    def warehouse(self) -> Warehouse:
        """The warehouse; its schema is brought up to date when the platform starts, not here."""
        return Warehouse(self.settings.database)

    @cached_property
    def models(self) -> ModelStore:
        """Bundles and pointers."""
        return ModelStore(self.objects)
