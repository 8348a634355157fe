"""The platform as a Dagster resource: configuration that builds plain objects, so that domain code needs no Dagster."""

from functools import cached_property

import dagster as dg

from accident_reco.defs.steps import lower_priority
from accident_reco.lifecycle.store import ModelStore
from accident_reco.settings import Settings
from accident_reco.storage.objects import ObjectStore, open_store
from accident_reco.storage.warehouse import Warehouse


class Platform(dg.ConfigurableResource):
    """Settings, object store, warehouse and model store of the platform.

    By default everything comes from the environment when a run starts; tests set `home`.
    """

    home: str = ""

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Called when a step starts: lowers the priority of its process."""
        lower_priority(context.run)

    @cached_property
    def settings(self) -> Settings:
        """Typed settings.

        Raises:
            SettingsError: one or more settings are invalid; the message names each.
        """
        return Settings.load(home=self.home) if self.home else Settings.load()

    @cached_property
    def objects(self) -> ObjectStore:
        """The object store."""
        return open_store(self.settings.store)

    @cached_property
    def warehouse(self) -> Warehouse:
        """The warehouse; its schema is migrated when the platform starts, not here."""
        return Warehouse(self.settings.database, must_exist=True)

    @cached_property
    def models(self) -> ModelStore:
        """The model store: bundles and pointers."""
        return ModelStore(self.objects)
