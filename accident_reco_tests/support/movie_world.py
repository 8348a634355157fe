"""A home with the movie model, and a Dagster instance that runs its jobs in this process."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from accident_reco.definitions import build_defs
from accident_reco.defs.resources import Platform
from accident_reco.models.movies.model import MODEL


class World:
    """A home, an instance, and the definitions of the movie model."""

    def __init__(self, home: Path) -> None:
        self.platform = Platform(home=str(home))
        self.platform.warehouse.upgrade()
        self.instance = dg.DagsterInstance.ephemeral(tempdir=str(home / "dagster"))
        self.definitions = build_defs([MODEL], self.platform)

    def run(
        self, job: str, only: str | None = None, config: dict[str, object] | None = None
    ) -> dg.ExecuteInProcessResult:
        selection = None if only is None else [dg.AssetKey(["movies", only])]
        return self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance, raise_on_error=False, run_config=config, asset_selection=selection
        )

    def metadata(self, result: dg.ExecuteInProcessResult, asset: str) -> dict[str, object]:
        for event in result.get_asset_materialization_events():
            found = event.materialization
            if found.asset_key == dg.AssetKey(["movies", asset]):
                return {name: value.value for name, value in found.metadata.items()}
        raise AssertionError(f"{asset} was not materialized")

    def close(self) -> None:
        self.platform.warehouse.close()
        self.instance.dispose()
