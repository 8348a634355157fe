"""The platform's Dagster definitions: each model's own assets, those of every model, and the loop over all models."""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from accident_reco import registry
from accident_reco.contract import Model
from accident_reco.defs import dataset, retrain_sensors, rollback, rollout
from accident_reco.defs.drift_report import drift_definitions
from accident_reco.defs.io import BundleIOManager, FrameIOManager
from accident_reco.defs.resources import Platform
from accident_reco.defs.steps import FORKED_STEPS
from accident_reco.defs.training_loop import training_definitions
from accident_reco.settings import Settings

platform = Platform()


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions of this installation's models: the code location."""
    return build_defs(registry.models(platform.settings).values(), platform)


def build_defs(models: Iterable[Model], platform: Platform) -> dg.Definitions:
    """The definitions of a platform with these models."""
    parts = [_resources(platform)]
    names = []
    for model in models:
        names.append(model.name)
        parts += _model_definitions(model, platform.settings)
    parts += [
        retrain_sensors.definitions(names, platform.settings),  # drift, performance, new data, requests, failures
        rollback.definitions(names, platform.settings),  # older versions, pointer moves that no run recorded
    ]
    return dg.Definitions.merge(*parts)


def _model_definitions(model: Model, settings: Settings) -> list[dg.Definitions]:
    return [
        model.training().definitions(settings),  # ingestion, features, batch scoring: the model's own
        training_definitions(model),  # candidates → candidate → gate → production model
        rollout.definitions(model, settings),  # a version that passed the gate proves itself on live traffic
        drift_definitions(model, settings),  # the comparison of incoming data with the reference
        dataset.definitions(model, settings),  # versions of training inputs, if enabled
    ]


def _resources(platform: Platform) -> dg.Definitions:
    return dg.Definitions(
        executor=FORKED_STEPS,
        resources={
            "platform": platform,
            "frames": FrameIOManager(platform=platform),
            "bundles": BundleIOManager(platform=platform),
        },
    )
