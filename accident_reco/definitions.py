"""The whole platform on one screen: assets, checks, jobs, sensors, schedules and resources, merged by name."""

from __future__ import annotations

import dagster as dg

from accident_reco.defs.io import BundleIOManager, FrameIOManager
from accident_reco.defs.resources import Platform

platform = Platform()


@dg.definitions
def defs() -> dg.Definitions:
    """Everything that Dagster knows of."""
    return dg.Definitions(
        resources={
            "platform": platform,
            "frames": FrameIOManager(platform=platform),
            "bundles": BundleIOManager(platform=platform),
        },
    )
