"""From trained candidates to the bundle that the gate decides on: choice, evaluation, reference profile, model card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from accident_reco.lifecycle.bundle import CARD_FILE, REFERENCE_FILE, Bundle
from accident_reco.lifecycle.evaluation import EVALUATION_FILE
from accident_reco.lifecycle.gate import GatePolicy
from accident_reco.lifecycle.reference import build_reference, reference_bytes
from accident_reco.models.accidents.features.builder import FeatureSpec
from accident_reco.models.accidents.scoring.scorer import AccidentScorer, DecisionRule
from accident_reco.models.accidents.settings import AccidentSettings
from accident_reco.models.accidents.training.bounds import MAX_SOFT_LABEL_ROWS
from accident_reco.models.accidents.training.candidate import (
    Prepared,
    Trained,
    TrainingConfig,
    build_signature,
    extract_real_columns,
    train,
)
from accident_reco.models.accidents.training.card import render_card
from accident_reco.models.accidents.training.evaluation import (
    Holdout,
    HoldoutReport,
    build_evaluation,
    evaluate_holdout,
)
from accident_reco.models.accidents.training.fitting import (
    Parameters,
    describe_parameters,
    get_algorithm,
)
from accident_reco.models.accidents.training.metrics import average_precision, evaluate, roc_auc
from accident_reco.models.accidents.training.out_of_time import evaluate_out_of_time

UNPROFILED_COLUMNS: Final = frozenset({"an", "mois", "jour", "com"})
NUMERIC: Final = frozenset({"hrmn", "an_nais", "driver_an_nais", "other_an_nais", "lat", "long", "vma", "nbv"})


def get_profile_kinds(spec: FeatureSpec) -> dict[str, Any]:
    """Column → `numeric` or `categorical` in the reference profile; date and commune are not profiled."""
    return {
        name: "numeric" if name in NUMERIC or name.startswith(("nb_", "others_")) else "categorical"
        for name in spec.columns
        if name not in UNPROFILED_COLUMNS
    }


def fit_candidate(
    model: str,
    features: pd.DataFrame,
    prepared: Prepared,
    parameters: Parameters,
    why: str,
    settings: AccidentSettings,
) -> Bundle:
    """Train one candidate of a model.

    Its bundle has validation metrics; its lineage has the parameters and the reason `why`.
    """
    trained = train(features, prepared, parameters, TrainingConfig.from_settings(settings))
    described = {key: str(value) for key, value in describe_parameters(parameters).items()}
    stated = {**described, **trained.bounds, "chosen": why}
    signature = {**build_signature(trained.files), "algorithm": get_algorithm(parameters)}
    metrics = compute_validation_metrics(trained)
    return Bundle(model, trained.files, signature, metrics, {"parameters": stated}, history=trained.history)


def build_gate_policy(settings: AccidentSettings) -> GatePolicy:
    """Promotion policy: ROC AUC decides; calibration and slices must not become worse than the tolerances."""
    return GatePolicy(
        metric="roc_auc",
        higher_is_better=True,
        floor=settings.accidents_floor,
        minimum_gain=settings.accidents_minimum_gain,
        limits={"ece": 0.01, "brier": 0.001},
        slice_tolerance=0.005,
    )


def compute_validation_metrics(trained: Trained) -> dict[str, float]:
    """Metrics on the real validation rows, by which candidates are chosen; the holdout is never used for that."""
    margin, label = trained.validation_margin, trained.validation_label
    rule = DecisionRule.from_json(trained.files["decision.json"])
    metrics = evaluate(label, rule.probability(margin), rule.threshold)
    # Ranking metrics use the margin: a calibration curve may tie rows that the trees rank.
    return {**metrics, "roc_auc": roc_auc(label, margin), "average_precision": average_precision(label, margin)}


def choose_candidate(candidates: Mapping[str, Bundle]) -> tuple[str, str]:
    """Kind of the candidate with the highest ROC AUC on validation rows, the first of equals, and the reason."""
    kind = max(candidates, key=lambda name: float(candidates[name].metrics["roc_auc"]))
    measured = ", ".join(f"{name} {float(one.metrics['roc_auc']):.4f}" for name, one in candidates.items())
    return kind, f"{kind} has the highest ROC AUC on validation rows ({measured})"


@dataclass(frozen=True)
class Assembled:
    """The bundle that the gate decides on, with the evaluation behind its card."""

    bundle: Bundle
    report: HoldoutReport
    holdout: Holdout


@threadpool_limits.wrap(limits=1, user_api="blas")  # sums in one order, whatever the number of cores
def assemble(
    chosen: str,
    candidates: Mapping[str, Bundle],
    training: pd.DataFrame,
    victims: pd.DataFrame,
    data_source: str,
    settings: AccidentSettings,
    sample: Mapping[str, Any] | None = None,
) -> Assembled:
    """Evaluate the chosen candidate on the holdout and complete its bundle.

    Args:
        chosen: kind of the chosen candidate.
        candidates: kind → bundle; all are of the same model.
        training: frame of training rows.
        victims: victims frame of training and holdout.
        sample: `training_population.Population.sample`.

    Raises:
        ValueError: the holdout is empty or has one class only.
    """
    model, files = candidates[chosen].model, dict(candidates[chosen].files)
    scorer, holdout = AccidentScorer.from_files(files), Holdout.from_victims(victims)
    result = evaluate_holdout(scorer, holdout, settings.seed)
    time_metrics, months = evaluate_out_of_time(
        training, holdout, settings.accidents_feature_set, settings.seed, settings.training_jobs
    )
    result = replace(result, metrics=result.metrics | time_metrics, slices=result.slices + months)
    real = extract_real_columns(training)
    reference = build_reference(
        real,
        get_profile_kinds(scorer.spec),
        groups=real["Num_Acc"],
        score=result.probability,
        label=holdout.label,
        model=model,
        data_source=data_source,
    )
    facts = {
        "algorithm": candidates[chosen].signature.get("algorithm", chosen),
        "features": f"`{scorer.spec.feature_set}`: {len(scorer.spec.names)} from {len(scorer.spec.columns)} columns",
        "trained on": f"{len(real['Num_Acc']):,} real and {int(training['synthetic'].sum()):,} synthetic road users",
        "years": _format_years(real["an"]),
        "weight of a synthetic road user": f"{settings.accidents_synthetic_weight:g}",
        "simulated missing values": f"up to {settings.accidents_mask_most:.0%} of the fields of a row",
    }
    facts |= describe_bounds(candidates[chosen].lineage["parameters"], len(real["Num_Acc"]))
    if sample:
        available = f"{sample['road_users']:,} of {sample['of']:,} road users outside of the holdout"
        facts["sample"] = f"{available}: whole accidents, chosen by hash, by the setting {sample['setting']}"
    files[REFERENCE_FILE] = reference_bytes(reference)
    files[CARD_FILE] = render_card(
        result,
        holdout.label.tolist(),
        facts,
        data_source,
        scorer.spec.feature_set,
        settings.accidents_miss_cost,
        settings.accidents_coverage,
    )
    files[EVALUATION_FILE] = build_evaluation(result, holdout.label).to_json()
    signature = {**build_signature(files), "algorithm": candidates[chosen].signature.get("algorithm", chosen)}
    bundle = Bundle(model, files, signature, result.metrics, lineage=dict(candidates[chosen].lineage))
    return Assembled(bundle, result, holdout)


def describe_bounds(parameters: Mapping[str, str], people: int) -> dict[str, str]:
    """Facts of the card where a step of the training used a sample of the rows; empty for small trainings."""
    facts = {"rows per tree": parameters["rows_per_tree"]} if "rows_per_tree" in parameters else {}
    if people > 2 * MAX_SOFT_LABEL_ROWS:
        facts["soft labels"] = f"of models that are trained on about {MAX_SOFT_LABEL_ROWS:,} road users each"
    return facts


def _format_years(years: Any) -> str:
    first, last = int(np.min(years)), int(np.max(years))
    return str(first) if first == last else f"{first}-{last}"
