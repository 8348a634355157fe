"""Blocking checks between the steps of a training: bad data stops before it is learnt, a bad model before it serves."""

import json

import dagster as dg
import pandas as pd

from accident_reco.defs.resources import Platform
from accident_reco.lifecycle.bundle import Bundle
from accident_reco.lifecycle.gate import Evaluation, decide
from accident_reco.lifecycle.reference import read_reference
from accident_reco.models.accidents.assets.ingest import VICTIMS
from accident_reco.models.accidents.assets.training import (
    candidate_model,
    features,
    production_model,
    synthetic_victims,
    training_set,
    tuned_parameters,
)
from accident_reco.models.accidents.scoring.scorer import CARD_FILE, REFERENCE_FILE, AccidentScorer
from accident_reco.models.accidents.synthesis import quality
from accident_reco.models.accidents.training import artefact_checks, assembly
from accident_reco.models.accidents.training.plots import markdown
from accident_reco.models.accidents.training.training_population import population


def _result(wrong: str | None) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=wrong is None, severity=dg.AssetCheckSeverity.ERROR, description=wrong or "as it must be"
    )


@dg.asset_check(asset=synthetic_victims, blocking=True, description="Every made-up person could have existed.")
def constraints_held(synthetic_victims: pd.DataFrame) -> dg.AssetCheckResult:
    """A pedestrian has no seat, a bicycle no motorway, and so on."""
    return _result(artefact_checks.synthetic_people(synthetic_victims))


@dg.asset_check(
    asset=synthetic_victims, additional_deps=[VICTIMS],
    description="Shapes, discriminator, teaching, distance to the closest real person; on held-out people.",
)  # fmt: skip
def people_like_real_ones(platform: Platform, synthetic_victims: pd.DataFrame) -> dg.AssetCheckResult:
    """Warns when a goal of the synthesizer is missed; the page shows every number."""
    settings = platform.settings
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


@dg.asset_check(asset=training_set, blocking=True, description="No held-out accident, both classes, the stated mix.")
def nobody_of_the_holdout(platform: Platform, training_set: pd.DataFrame) -> dg.AssetCheckResult:
    """A held-out person in training would make every later number a lie."""
    return _result(artefact_checks.training_people(training_set, platform.settings.accidents_synthetic_share))


@dg.asset_check(asset=features, blocking=True, description="The columns are the spec's, finite, and not empty.")
def features_as_specified(platform: Platform, features: pd.DataFrame) -> dg.AssetCheckResult:
    """What serving will build is what is learnt."""
    return _result(artefact_checks.feature_table(features, platform.settings.accidents_feature_set))


@dg.asset_check(
    asset=tuned_parameters, blocking=True, description="Values of the declared space, no worse than before."
)
def found_within_the_space(platform: Platform) -> dg.AssetCheckResult:
    """What trainings will read is what the search may choose, and beats what was in use on the same folds."""
    return _result(artefact_checks.tuned_document(json.loads(platform.objects.read(assembly.TUNED))))


@dg.asset_check(
    asset=candidate_model, blocking=True,
    description="Complete and readable; a warning when it is below the floor, for which the gate will refuse it.",
)  # fmt: skip
def complete_and_above_the_floor(platform: Platform, candidate_model: Bundle) -> dg.AssetCheckResult:
    """It loads. Of its worth the gate's own function warns: the gate refuses, and records why."""
    AccidentScorer.from_files(candidate_model.files)
    read_reference(candidate_model.files[REFERENCE_FILE])
    if not candidate_model.files[CARD_FILE]:
        return _result("the model card is empty")
    policy = assembly.gate_policy(platform.settings)
    decision = decide(Evaluation(candidate_model.version, candidate_model.metrics), None, None, policy)
    return dg.AssetCheckResult(
        passed=decision.promote, severity=dg.AssetCheckSeverity.WARN, description=decision.reason
    )


@dg.asset_check(
    asset=production_model, blocking=True, description="The version that the pointer names loads and answers."
)
def champion_answers(platform: Platform) -> dg.AssetCheckResult:
    """Verified bytes, a signature that fits, a smoke prediction."""
    champion = platform.models.champion(assembly.MODEL)
    if champion is None:
        return _result("no version serves yet: the gate refused the first candidate")
    manifest = champion[1]
    AccidentScorer.from_files(platform.models.files(manifest), manifest)
    return _result(None)
