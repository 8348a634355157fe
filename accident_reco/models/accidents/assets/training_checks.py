"""Checks of the assets before an accident training: invalid data blocks the run before a model is fitted."""

import json

import dagster as dg
import pandas as pd

from accident_reco.defs.resources import Platform
from accident_reco.models.accidents.assets.ingest import VICTIMS
from accident_reco.models.accidents.assets.training_data import synthetic_victims, training_set
from accident_reco.models.accidents.model import AccidentModel
from accident_reco.models.accidents.settings import AccidentSettings
from accident_reco.models.accidents.synthesis import quality
from accident_reco.models.accidents.training import artefact_checks
from accident_reco.models.accidents.training.parameters import get_tuned_key
from accident_reco.models.accidents.training.plots import embed_markdown
from accident_reco.models.accidents.training.training_population import find_excluded, find_years, load_population


def _build_result(wrong: str | None) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=wrong is None, severity=dg.AssetCheckSeverity.ERROR, description=wrong or "passed"
    )


@dg.asset_check(
    asset=synthetic_victims, blocking=True, description="Every synthetic road user satisfies the constraints."
)
def constraints_satisfied(synthetic_victims: pd.DataFrame) -> dg.AssetCheckResult:
    """For example: a pedestrian has no seat, a bicycle is on no motorway."""
    return _build_result(artefact_checks.check_synthetic_rows(synthetic_victims))


@dg.asset_check(
    asset=synthetic_victims,
    additional_deps=[VICTIMS],
    description="Column shapes, discriminability, usefulness for training, distance to real rows; on the holdout.",
)
def synthetic_data_quality(platform: Platform, synthetic_victims: pd.DataFrame) -> dg.AssetCheckResult:
    """Warns when a goal of the synthesizer is missed; the metadata has every measurement."""
    settings = platform.settings.of(AccidentSettings)
    population = load_population(platform.objects, settings)
    found = quality.measure_quality(population.victims, synthetic_victims, settings.seed, settings.training_jobs)
    return dg.AssetCheckResult(
        passed=not found.missed_goals,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(found.missed_goals) or "every goal reached",
        metadata={
            **found.numbers,
            "measures": dg.MetadataValue.md(quality.format_table(found.numbers)),
            "page": dg.MetadataValue.md(embed_markdown(quality.plot_quality(found), "quality")),
        },
    )


@dg.asset_check(
    asset=training_set,
    blocking=True,
    description="No holdout accident by number or content, both classes, the configured synthetic share.",
)
def no_holdout_leakage(platform: Platform, training_set: pd.DataFrame) -> dg.AssetCheckResult:
    """A holdout accident in the training set would invalidate every later metric."""
    settings = platform.settings.of(AccidentSettings)
    excluded = find_excluded(platform.objects, find_years(platform.objects, settings).years)
    return _build_result(
        artefact_checks.check_training_rows(training_set, settings.accidents_synthetic_share, excluded)
    )


def build_feature_checks(model: AccidentModel) -> list[dg.AssetChecksDefinition]:
    """Checks of the instance's model matrix and tuned parameters."""

    @dg.asset_check(
        asset=dg.AssetKey([model.name, "features"]),
        blocking=True,
        description="The columns are the spec's, finite, and not empty.",
    )
    def features_match_spec(platform: Platform, features: pd.DataFrame) -> dg.AssetCheckResult:
        """Training and serving build the same features."""
        settings = model.own_settings(platform.settings).of(AccidentSettings)
        return _build_result(artefact_checks.check_feature_table(features, settings.accidents_feature_set))

    @dg.asset_check(
        asset=dg.AssetKey([model.name, "tuned_parameters"]),
        blocking=True,
        description="Values in the declared space, not worse than before.",
    )
    def tuned_parameters_in_space(platform: Platform) -> dg.AssetCheckResult:
        """Trainings read only values of the declared space, not worse than the previous ones on the same folds."""
        document = json.loads(platform.objects.read(get_tuned_key(model.name)))
        return _build_result(artefact_checks.check_tuned_parameters(document))

    return [features_match_spec, tuned_parameters_in_space]
