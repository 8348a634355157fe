"""The whole platform on one screen: what every model gets, what each model brings, what watches all of them."""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from accident_reco.contract import Model
from accident_reco.defs import dataset, retrain_sensors, rollback
from accident_reco.defs.drift_report import drift_definitions
from accident_reco.defs.io import BundleIOManager, FrameIOManager
from accident_reco.defs.resources import Platform
from accident_reco.defs.steps import FORKED_STEPS
from accident_reco.defs.training_loop import training_definitions
from accident_reco.registry import models
from accident_reco.settings import Settings

platform = Platform()


@dg.definitions
def defs() -> dg.Definitions:
    """Everything that Dagster knows of, for the models of this installation."""
    return build_defs(models(platform.settings).values(), platform)


def build_defs(chosen: Iterable[Model], platform: Platform) -> dg.Definitions:
    """The platform with these models; tests build small ones with it."""
    parts = [_resources(platform)]
    names = []
    for model in chosen:
        names.append(model.name)
        parts += _model_definitions(model, platform.settings)
    parts += [
        retrain_sensors.definitions(names, platform.settings),  # drift, performance, new data, requests, failures
        rollback.definitions(names, platform.settings),  # older versions serve again
    ]
    return dg.Definitions.merge(*parts)


def _model_definitions(model: Model, settings: Settings) -> list[dg.Definitions]:
    return [
        model.training().definitions(settings),  # ingestion, features, batch scores: the model's own
        training_definitions(model),  # candidates → candidate → gate → production model
        drift_definitions(model, settings),  # the report on what comes in
        dataset.definitions(model, settings),  # versions of training inputs, where they are kept
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
