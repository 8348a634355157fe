"""The whole platform on one screen: assets, checks, jobs, sensors, schedules and resources, merged by name."""

from __future__ import annotations

import dagster as dg

from accident_reco.defs import accidents_ingest
from accident_reco.defs.io import BundleIOManager, FrameIOManager
from accident_reco.defs.resources import Platform

platform = Platform()


@dg.definitions
def defs() -> dg.Definitions:
    """Everything that Dagster knows of."""
    return dg.Definitions(
        assets=[accidents_ingest.accident_years, accidents_ingest.accident_warehouse_tables],
        asset_checks=[accidents_ingest.fresh_enough, accidents_ingest.warehouse_holds_every_person],
        jobs=[accidents_ingest.ingest_accidents, accidents_ingest.load_accidents],
        resources={
            "platform": platform,
            "frames": FrameIOManager(platform=platform),
            "bundles": BundleIOManager(platform=platform),
        },
    )
