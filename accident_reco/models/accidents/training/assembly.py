"""From trained candidates to the one bundle that the gate judges: choice, evaluation, reference profile, card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from accident_reco.lifecycle.bundle import CARD_FILE, REFERENCE_FILE, Bundle, sha256
from accident_reco.lifecycle.gate import GatePolicy
from accident_reco.lifecycle.reference import build_reference, reference_bytes
from accident_reco.models.accidents.scoring.scorer import AccidentScorer, Rule
from accident_reco.models.accidents.settings import AccidentSettings
from accident_reco.models.accidents.training.candidate import (
    REAL,
    Recipe,
    Trained,
    profile_kinds,
    real_columns,
    search_rows,
    signature_of,
    train,
)
from accident_reco.models.accidents.training.card import card
from accident_reco.models.accidents.training.evaluation import Holdout, Report, report
from accident_reco.models.accidents.training.fitting import (
    BoostingParameters,
    ForestParameters,
    Parameters,
    algorithm_of,
    described,
)
from accident_reco.models.accidents.training.metrics import average_precision, evaluate, roc_auc
from accident_reco.models.accidents.training.out_of_time import out_of_time
from accident_reco.models.accidents.training.tuning import SPACE, tune
from accident_reco.storage.objects import ObjectNotFound, ObjectStore

MODEL = "accidents"


def recipe_of(settings: AccidentSettings) -> Recipe:
    """The recipe as configured."""
    return Recipe(
        feature_set=settings.accidents_feature_set,
        synthetic_weight=settings.accidents_synthetic_weight,
        masked_weight=settings.accidents_masked_weight,
        mask_most=settings.accidents_mask_most,
        teacher_share=settings.accidents_teacher_share,
        miss_cost=settings.accidents_miss_cost,
        coverage=settings.accidents_coverage,
        seed=settings.seed,
        jobs=settings.training_jobs,
    )


def parameters_of(
    settings: AccidentSettings, people: int, tuned: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Parameters]:
    """Parameters of either candidate: as shipped or as found by `tuned`, as many trees as `people` are worth.

    Settings that state a number of trees, rounds or members win. `people`: real ones of the training set.
    """
    found = tuned or {}
    trees = settings.accidents_forest_trees or min(max(people // 500, 30), ForestParameters.trees)
    rounds = settings.accidents_boosting_rounds or min(max(people // 150, 60), BoostingParameters.rounds)
    return {
        "forest": ForestParameters(**{**found.get("forest", {}), "trees": trees}),
        "boosting": BoostingParameters(
            **{**found.get("boosting", {}), "rounds": rounds, "members": settings.accidents_boosting_members}
        ),
    }


KINDS: Final = tuple(SPACE)
"""Kinds of candidates."""
TUNED: Final = "assets/accidents/tuned_parameters/all.json"


def tuned_for(store: ObjectStore, data_source: str, feature_set: str) -> tuple[dict[str, Any] | None, str]:
    """What the latest search found for this source and feature set, None where there was none; and why, in words that
    name the search by its hash."""
    try:
        raw = store.read(TUNED)
    except ObjectNotFound:
        return None, "as shipped: no search was run"
    document = json.loads(raw)
    for name, ours in (("data_source", data_source), ("feature_set", feature_set)):
        if document[name] != ours:
            return None, f"as shipped: the search was on {name} {document[name]}, this is {ours}"
    chosen = {name: document[name]["chosen"] for name in SPACE}
    return chosen, f"tuned on {document['people']:,} people of {data_source}, search {sha256(raw)[:12]}"


def tune_candidates(features: pd.DataFrame, data_source: str, settings: AccidentSettings) -> dict[str, Any]:
    """Search parameters of both candidates on the feature table; the document that `tuned_for` reads."""
    recipe = recipe_of(settings)
    rows, num_acc, whole = search_rows(features, recipe)
    people = int(np.count_nonzero(features["_origin"] == REAL))
    document: dict[str, Any] = {
        "data_source": data_source, "feature_set": recipe.feature_set, "people": people, "seed": recipe.seed,
        "budget_seconds": settings.accidents_tuning_seconds,
    }  # fmt: skip
    for name, start in parameters_of(settings, people).items():
        budget = settings.accidents_tuning_seconds / len(SPACE)
        document[name] = tune(rows, num_acc, whole, start, budget, recipe.seed, recipe.jobs).document()
    return document


def fit_candidate(
    features: pd.DataFrame, training: pd.DataFrame, parameters: Parameters, why: str, settings: AccidentSettings
) -> Bundle:
    """Train one candidate; its bundle has validation metrics, and in its lineage the parameters and `why` these."""
    trained = train(features, training, parameters, recipe_of(settings))
    stated = {**{key: str(value) for key, value in described(parameters).items()}, "chosen": why}
    signature = {**signature_of(trained.files), "algorithm": algorithm_of(parameters)}
    return Bundle(MODEL, trained.files, signature, validation_metrics(trained), {"parameters": stated})


def gate_policy(settings: AccidentSettings) -> GatePolicy:
    """What an accident model must reach: discrimination decides, calibration and slices may not suffer."""
    return GatePolicy(
        metric="roc_auc",
        higher_is_better=True,
        floor=settings.accidents_floor,
        minimum_gain=settings.accidents_minimum_gain,
        limits={"ece": 0.01, "brier": 0.001},
        slice_tolerance=0.005,
    )


def validation_metrics(trained: Trained) -> dict[str, float]:
    """What a candidate says of the real validation rows: it is chosen by these, never by the holdout."""
    margin, label = trained.validation_margin, trained.validation_label
    rule = Rule.from_json(trained.files["decision.json"])
    fair = evaluate(label, rule.probability(margin), rule.threshold)
    # Ranks of the margin: a calibration curve may tie what the trees tell apart.
    return {**fair, "roc_auc": roc_auc(label, margin), "average_precision": average_precision(label, margin)}


def best(candidates: Mapping[str, Bundle]) -> str:
    """Name of the candidate with the highest ROC AUC on validation rows; the first of equals."""
    return max(candidates, key=lambda name: float(candidates[name].metrics["roc_auc"]))


def choose(candidates: Mapping[str, Bundle]) -> tuple[str, str]:
    """Kind of the best candidate, and why, in one sentence."""
    kind = best(candidates)
    measured = ", ".join(f"{name} {float(one.metrics['roc_auc']):.4f}" for name, one in candidates.items())
    return kind, f"{kind} has the highest ROC AUC on validation rows ({measured})"


@dataclass(frozen=True)
class Assembled:
    """The bundle that the gate will judge, with the evaluation behind its card."""

    bundle: Bundle
    report: Report
    holdout: Holdout


@threadpool_limits.wrap(limits=1, user_api="blas")  # sums in one order, whatever the number of cores
def assemble(
    chosen: str, candidates: Mapping[str, Bundle], training: pd.DataFrame, victims: pd.DataFrame,
    data_source: str, settings: AccidentSettings,
) -> Assembled:  # fmt: skip
    """Evaluate the chosen candidate on the holdout and complete its bundle. Raises ValueError without a holdout."""
    files = dict(candidates[chosen].files)
    scorer, holdout = AccidentScorer.from_files(files), Holdout.of(victims)
    result = report(scorer, holdout, settings.seed)
    later, months = out_of_time(
        training, holdout, settings.accidents_feature_set, settings.seed, settings.training_jobs
    )
    result = replace(result, metrics=result.metrics | later, slices=result.slices + months)
    real = real_columns(training)
    reference = build_reference(
        real, profile_kinds(scorer.spec), groups=real["Num_Acc"], score=result.probability, label=holdout.label,
        model=MODEL, data_source=data_source,
    )  # fmt: skip
    facts = {
        "algorithm": candidates[chosen].signature.get("algorithm", chosen),
        "features": f"`{scorer.spec.feature_set}`: {len(scorer.spec.names)} from {len(scorer.spec.columns)} columns",
        "trained on": f"{len(real['Num_Acc']):,} real people and {int(training['synthetic'].sum()):,} synthetic ones",
        "years": _span(real["an"]),
        "weight of a synthetic person": f"{settings.accidents_synthetic_weight:g}",
        "gaps learnt": f"up to {settings.accidents_mask_most:.0%} of the fields",
    }
    files[REFERENCE_FILE] = reference_bytes(reference)
    files[CARD_FILE] = card(
        result, holdout.label.tolist(), facts, data_source, scorer.spec.feature_set, settings.accidents_miss_cost,
        settings.accidents_coverage,
    )  # fmt: skip
    signature = {**signature_of(files), "algorithm": candidates[chosen].signature.get("algorithm", chosen)}
    bundle = Bundle(MODEL, files, signature, result.metrics, lineage=dict(candidates[chosen].lineage))
    return Assembled(bundle, result, holdout)


def _span(years: Any) -> str:
    first, last = int(np.min(years)), int(np.max(years))
    return str(first) if first == last else f"{first}-{last}"
