"""From trained candidates to the one bundle that the gate judges: choice, evaluation, reference profile, card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from accident_reco.accidents.model.candidate import Recipe, Trained, profile_kinds, real_columns, signature_of
from accident_reco.accidents.model.card import card
from accident_reco.accidents.model.evaluation import Holdout, Report, report
from accident_reco.accidents.model.metrics import average_precision, evaluate, roc_auc
from accident_reco.accidents.model.training import BoostingParameters, ForestParameters
from accident_reco.accidents.scorer import CARD_FILE, REFERENCE_FILE, AccidentScorer, Rule
from accident_reco.lifecycle.bundle import Bundle
from accident_reco.lifecycle.gate import GatePolicy
from accident_reco.lifecycle.reference import build_reference, reference_bytes
from accident_reco.settings import Settings

MODEL = "accidents"


def recipe_of(settings: Settings) -> Recipe:
    """The recipe as configured."""
    return Recipe(
        feature_set=settings.accidents_feature_set,
        synthetic_weight=settings.accidents_synthetic_weight,
        masked_weight=settings.accidents_masked_weight,
        mask_most=settings.accidents_mask_most,
        miss_cost=settings.accidents_miss_cost,
        coverage=settings.accidents_coverage,
        seed=settings.seed,
        jobs=settings.training_jobs,
    )


def parameters_of(settings: Settings, people: int) -> tuple[ForestParameters, BoostingParameters]:
    """Forest and boosters as configured, or as many trees as `people` real training people are worth."""
    trees = settings.accidents_forest_trees or min(max(people // 500, 30), 150)
    rounds = settings.accidents_boosting_rounds or min(max(people // 150, 80), 500)
    return (
        ForestParameters(trees=trees),
        BoostingParameters(rounds=rounds, members=settings.accidents_boosting_members),
    )


def gate_policy(settings: Settings) -> GatePolicy:
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


@dataclass(frozen=True)
class Assembled:
    """The bundle that the gate will judge, with the evaluation behind its card."""

    bundle: Bundle
    report: Report
    holdout: Holdout


def assemble(
    chosen: str, candidates: Mapping[str, Bundle], training: pd.DataFrame, victims: pd.DataFrame,
    data_source: str, settings: Settings,
) -> Assembled:  # fmt: skip
    """Evaluate the chosen candidate on the holdout and complete its bundle. Raises ValueError without a holdout."""
    files = dict(candidates[chosen].files)
    scorer, holdout = AccidentScorer.from_files(files), Holdout.of(victims)
    result = report(scorer, holdout, settings.seed)
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
