"""Checks between the assets of an accident training: bad data stops before a model is fitted on it."""

import json

import dagster as dg
import pandas as pd

from accident_reco.defs.resources import Platform
from accident_reco.models.accidents.assets.ingest import VICTIMS
from accident_reco.models.accidents.assets.training_data import (
    features,
    synthetic_victims,
    training_set,
    tuned_parameters,
)
from accident_reco.models.accidents.settings import AccidentSettings
from accident_reco.models.accidents.synthesis import quality
from accident_reco.models.accidents.training import artefact_checks, assembly
from accident_reco.models.accidents.training.plots import markdown
from accident_reco.models.accidents.training.training_population import population


def _result(wrong: str | None) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=wrong is None, severity=dg.AssetCheckSeverity.ERROR, description=wrong or "passed"
    )


@dg.asset_check(asset=synthetic_victims, blocking=True, description="Every made-up person could have existed.")
def constraints_held(synthetic_victims: pd.DataFrame) -> dg.AssetCheckResult:
    """A pedestrian has no seat, a bicycle no motorway, and so on."""
    return _result(artefact_checks.synthetic_people(synthetic_victims))


@dg.asset_check(
    asset=synthetic_victims, additional_deps=[VICTIMS],
    description="Shapes, discriminator, teaching, distance to the closest real person; on held-out people.",
)  # fmt: skip
def synthetic_data_quality(platform: Platform, synthetic_victims: pd.DataFrame) -> dg.AssetCheckResult:
    """Warns when a goal of the synthesizer is missed; the page shows every number."""
    settings = platform.settings.of(AccidentSettings)
    people = population(platform.objects, settings)
    found = quality.measure(people.victims, synthetic_victims, settings.seed, settings.training_jobs)
    return dg.AssetCheckResult(
        passed=not found.missed, severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(found.missed) or "every goal reached",
        metadata={
            **found.numbers,
            "measures": dg.MetadataValue.md(quality.table(found.numbers)),
            "page": dg.MetadataValue.md(markdown(quality.picture(found), "quality")),
        },
    )  # fmt: skip


@dg.asset_check(
    asset=training_set,
    blocking=True,
    description="No accident that is held out by number or content, both classes, the stated mix.",
)
def no_holdout_leakage(platform: Platform, training_set: pd.DataFrame) -> dg.AssetCheckResult:
    """A held-out accident in training would make every later number wrong."""
    settings = platform.settings.of(AccidentSettings)
    excluded = population(platform.objects, settings).excluded
    return _result(artefact_checks.training_people(training_set, settings.accidents_synthetic_share, excluded))


@dg.asset_check(asset=features, blocking=True, description="The columns are the spec's, finite, and not empty.")
def features_as_specified(platform: Platform, features: pd.DataFrame) -> dg.AssetCheckResult:
    """What serving will build is what is learnt."""
    return _result(
        artefact_checks.feature_table(features, platform.settings.of(AccidentSettings).accidents_feature_set)
    )


@dg.asset_check(
    asset=tuned_parameters, blocking=True, description="Values of the declared space, no worse than before."
)
def tuned_parameters_in_space(platform: Platform) -> dg.AssetCheckResult:
    """What trainings will read is what the search may choose, and beats what was in use on the same folds."""
    return _result(artefact_checks.tuned_document(json.loads(platform.objects.read(assembly.TUNED))))
