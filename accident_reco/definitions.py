"""The whole platform on one screen: the modules whose assets, checks, jobs, sensors and schedules make it, by name."""

from __future__ import annotations

from typing import Any

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from accident_reco.defs import dataset, drift_report, retrain_sensors, rollback
from accident_reco.defs.io import BundleIOManager, FrameIOManager
from accident_reco.defs.resources import Platform
from accident_reco.defs.steps import FORKED_STEPS
from accident_reco.models.accidents import assets as accidents
from accident_reco.models.movies import assets as movies

platform = Platform()

MODULES = (
    accidents.ingest,  # published files of a year → one row per road user, quarantine, warehouse
    accidents.training,  # synthetic people, training set, features, two candidates, the gate
    accidents.training_checks,  # what stops bad data before it is learnt, a bad model before it serves
    accidents.scoring,  # whole years scored by the champion
    movies.ingest,  # rating files → ratings and catalogue in the warehouse, quarantine
    movies.training,  # split, four candidates, the winner by the candidate rule, the gate
)


@dg.definitions
def defs() -> dg.Definitions:
    """Everything that Dagster knows of."""
    settings = platform.settings
    jobs = _named(dg.JobDefinition, UnresolvedAssetJobDefinition)
    if settings.broker_url:
        from accident_reco.defs.workers import on_workers

        jobs = on_workers(jobs, settings)
    pipelines = dg.Definitions(
        assets=dg.load_assets_from_modules(MODULES),
        asset_checks=dg.load_asset_checks_from_modules(MODULES),
        jobs=jobs,
        schedules=_named(dg.ScheduleDefinition),
        executor=FORKED_STEPS,
        resources={
            "platform": platform,
            "frames": FrameIOManager(platform=platform),
            "bundles": BundleIOManager(platform=platform),
        },
    )
    # These have settings in their definitions: when to check, how often to look.
    watching = (
        module.definitions(settings) for module in (accidents.sensors, drift_report, retrain_sensors, rollback, dataset)
    )
    return dg.Definitions.merge(pipelines, *watching)


def _named(*kinds: type) -> list[Any]:
    """What the modules define of these kinds, each once."""
    found = {id(thing): thing for module in MODULES for thing in vars(module).values() if isinstance(thing, kinds)}
    return list(found.values())
