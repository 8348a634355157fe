"""Training of one candidate: feature table, trees, calibration, bundle files. Evaluation on the holdout is in
`evaluation`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from accident_reco.lifecycle.holdout import in_holdout
from accident_reco.models.accidents.features.builder import FLOAT_COLUMNS, TEXT_COLUMNS, FeatureSpec, build_features
from accident_reco.models.accidents.scoring.scorer import (
    ADVICE_FILE,
    DECISION_FILE,
    FEATURES_FILE,
    MODEL_FILE,
    TREES_FILE,
    AccidentScorer,
    DecisionRule,
    open_session,
)
from accident_reco.models.accidents.scoring.trees import Trees
from accident_reco.models.accidents.training import soft_labels
from accident_reco.models.accidents.training.advice_table import learn_advice_table
from accident_reco.models.accidents.training.calibration import fit_decision_rule
from accident_reco.models.accidents.training.config import TrainingConfig
from accident_reco.models.accidents.training.export import to_onnx
from accident_reco.models.accidents.training.fitting import Parameters, TrainingRows, fit, reduce_for_calibration
from accident_reco.models.accidents.training.training_rows import (
    Columns,
    extract_columns,
    in_validation,
    mask_rows,
    severe_label,
    take,
)

# Columns of the feature table besides the features themselves.
NUM_ACC, LABEL, TARGET, WEIGHT, ORIGIN = "Num_Acc", "grave", "target", "weight", "origin"
REAL, MASKED, SYNTHETIC = 0, 1, 2


def build_training_frame(victims: pd.DataFrame, synthetic: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """Real road users outside of the holdout, and synthetic ones up to `share` of the result (0.5: one per real one).

    Columns are those of the synthetic frame, `synthetic` among them.

    Raises:
        ValueError: there are too few synthetic rows.
    """
    names = [name for name in synthetic.columns if name != "synthetic"]
    real = victims.loc[~in_holdout(victims[NUM_ACC].to_numpy()), names].assign(synthetic=False)
    wanted = round(len(real) * share / (1 - share))
    if wanted > len(synthetic):
        raise ValueError(f"a share of {share:g} needs {wanted} synthetic road users, there are {len(synthetic)}")
    chosen = np.sort(np.random.default_rng(seed).permutation(len(synthetic))[:wanted])
    return pd.concat([real, synthetic.iloc[chosen]], ignore_index=True)


def learn_spec(training: pd.DataFrame, feature_set: str) -> FeatureSpec:
    """Feature spec learnt from the real training rows."""
    return FeatureSpec.learn(extract_columns(training[~training["synthetic"]]), feature_set)


def build_feature_frame(training: pd.DataFrame, config: TrainingConfig) -> pd.DataFrame:
    """Model matrix: real rows, rows with simulated missing values, synthetic rows; with label, target, weight, origin.

    The target of a real row (`_target`) is its label combined with its soft label (see `soft_labels`).
    """
    spec = learn_spec(training, config.feature_set)
    columns = extract_columns(training)
    real, synthetic = take(columns, ~columns["synthetic"]), take(columns, columns["synthetic"])
    target = _soften_labels(real, config)
    parts = [(REAL, 1.0, real, target)]
    if config.max_missing_fraction:
        masked = mask_rows(real, spec, config.max_missing_fraction, config.seed)
        parts.append((MASKED, config.masked_weight, masked, target))
    parts.append((SYNTHETIC, config.synthetic_weight, synthetic, severe_label(synthetic["grav"]).astype(np.float32)))
    frames = []
    for origin, weight, rows, targets in parts:
        kept = _select_thinned_rows(len(targets), weight, config, origin)
        if not len(kept):
            continue
        rows = take(rows, kept)
        # Synthetic rows count as training rows too: their coordinates come from a real accident of the training set.
        frame = pd.DataFrame(build_features(rows, spec, training_rows=True), columns=list(spec.names), copy=False)
        extra = {
            NUM_ACC: rows[NUM_ACC],
            LABEL: severe_label(rows["grav"]),
            TARGET: targets[kept],
            WEIGHT: np.full(len(kept), max(weight, config.min_row_weight), dtype=np.float32),
            ORIGIN: np.full(len(kept), origin, dtype=np.int8),
        }
        for name, values in extra.items():
            frame[f"_{name}"] = values
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _select_thinned_rows(rows: int, weight: float, config: TrainingConfig, origin: int) -> NDArray[np.intp]:
    """Positions of a random subset whose total weight is that of all `rows` at `weight`, ascending."""
    count = round(rows * min(weight / config.min_row_weight, 1.0))
    return np.sort(np.random.default_rng([config.seed, origin]).permutation(rows)[:count])


def _soften_labels(real: Columns, config: TrainingConfig) -> NDArray[np.float32]:
    """Target of every real row, shape (n,): label and soft label, the latter with `soft_label_weight`."""
    label = severe_label(real["grav"]).astype(np.float32)
    if not config.soft_label_weight or not len(label):
        return label
    excluded = in_validation(real[NUM_ACC], config.validation_share)
    soft = soft_labels.predict_out_of_fold(
        real, excluded, soft_labels.select_soft_label_parameters(len(label)), config.seed, config.jobs
    )
    weight = np.float32(config.soft_label_weight)
    return (1 - weight) * label + weight * soft.astype(np.float32)


def extract_rows(features: pd.DataFrame) -> tuple[TrainingRows, NDArray[np.int64]]:
    """Training rows of the feature table and their accident numbers, shape (n,)."""
    names = [name for name in features.columns if not str(name).startswith("_")]
    matrix = np.ascontiguousarray(features[names].to_numpy(dtype=np.float32))
    target, weight = (features[f"_{name}"].to_numpy(np.float32) for name in (TARGET, WEIGHT))
    return TrainingRows(matrix, target, weight), features[f"_{NUM_ACC}"].to_numpy(np.int64)


def select_search_rows(
    features: pd.DataFrame, config: TrainingConfig
) -> tuple[TrainingRows, NDArray[np.int64], NDArray[np.bool_]]:
    """Rows for the parameter search: real rows outside of validation with their recorded label.

    Returns the rows, their accident numbers, and which of them have no simulated missing values; each of length n.
    """
    numbers = features[f"_{NUM_ACC}"].to_numpy(np.int64)
    kept = (features[f"_{ORIGIN}"] != SYNTHETIC).to_numpy() & ~in_validation(numbers, config.validation_share)
    chosen = features[kept]
    rows, num_acc = extract_rows(chosen)
    return (
        TrainingRows(rows.x, chosen[f"_{LABEL}"].to_numpy(np.int8), rows.weight),
        num_acc,
        (chosen[f"_{ORIGIN}"] == REAL).to_numpy(),
    )


@dataclass(frozen=True)
class Trained:
    """A fitted candidate: bundle files, and margins and labels of the real validation rows, to compare candidates."""

    files: dict[str, bytes]
    validation_margin: NDArray[np.float32]
    validation_label: NDArray[np.int8]


@threadpool_limits.wrap(limits=1, user_api="blas")  # sums in one order, whatever the number of cores
def train(features: pd.DataFrame, training: pd.DataFrame, parameters: Parameters, config: TrainingConfig) -> Trained:
    """Fit, calibrate on real validation rows, refit on all rows, export."""
    spec = learn_spec(training, config.feature_set)
    rows, num_acc = extract_rows(features)
    validation = in_validation(num_acc, config.validation_share)
    first = reduce_for_calibration(parameters) if config.refit else parameters
    trees = fit(rows.select(~validation), first, config.seed, config.jobs)
    real = extract_columns(training[in_validation(training[NUM_ACC].to_numpy(), config.validation_share)])
    matrix, label = build_features(real, spec, training_rows=True), severe_label(real["grav"])
    margin = build_uncalibrated_scorer(trees, spec).margin(matrix)
    rule = fit_decision_rule(margin, label, config.miss_cost, config.coverage, config.seed)
    if config.refit:
        trees = fit(rows, parameters, config.seed, config.jobs)
    files = {
        MODEL_FILE: to_onnx(trees, len(spec.names)),
        FEATURES_FILE: spec.to_json(),
        DECISION_FILE: rule.to_json(),
        TREES_FILE: trees.to_npz(),
        ADVICE_FILE: learn_advice_table(extract_real_columns(training), spec.columns).to_json(),
    }
    return Trained(files, margin, label)


def build_uncalibrated_scorer(trees: Trees, spec: FeatureSpec) -> AccidentScorer:
    """A scorer of trees that are not calibrated yet: its margins are valid, its probabilities are not."""
    ends = np.array([0.0, 1.0])
    return AccidentScorer(
        open_session(to_onnx(trees, len(spec.names))), spec, DecisionRule(ends, ends, 0.5, 1.0, 0.0, 0.0)
    )


def build_signature(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Signature of a bundle: raw columns as inputs; probability, class and uncertainty as outputs."""
    spec = FeatureSpec.from_json(files[FEATURES_FILE])

    def kind(name: str) -> str:
        return "float64" if name in FLOAT_COLUMNS else "str" if name in TEXT_COLUMNS else "int32"

    return {
        "feature_set": spec.feature_set,
        "inputs": [{"name": name, "type": kind(name), "optional": True} for name in spec.columns],
        "outputs": [
            {"name": "probability", "type": "float64"},
            {"name": "grave", "type": "bool"},
            {"name": "uncertain", "type": "bool"},
        ],
    }


UNPROFILED_COLUMNS: Final = frozenset({"an", "mois", "jour", "com"})
NUMERIC: Final = frozenset({"hrmn", "an_nais", "driver_an_nais", "other_an_nais", "lat", "long", "vma", "nbv"})


def get_profile_kinds(spec: FeatureSpec) -> dict[str, Any]:
    """Column → `numeric` or `categorical` in the reference profile; date and commune are not profiled."""
    return {
        name: "numeric" if name in NUMERIC or name.startswith(("nb_", "others_")) else "categorical"
        for name in spec.columns
        if name not in UNPROFILED_COLUMNS
    }


def extract_real_columns(training: pd.DataFrame) -> Columns:
    """Columns of the real training rows."""
    return extract_columns(training[~training["synthetic"]])
