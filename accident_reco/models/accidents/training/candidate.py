"""Training of one candidate: feature table, trees, calibration, bundle files. Evaluation on the holdout is in
`evaluation`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from accident_reco.lifecycle.holdout import in_holdout
from accident_reco.lifecycle.training_history import History
from accident_reco.models.accidents.features.builder import (
    FLOAT_COLUMNS,
    TEXT_COLUMNS,
    FeatureSpec,
    build_features,
    fill_features,
)
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
from accident_reco.models.accidents.training.fitting import (
    Parameters,
    TrainingRows,
    describe_rows_per_tree,
    fit,
    reduce_for_calibration,
)
from accident_reco.models.accidents.training.group_bounds import fit_group_bounds
from accident_reco.models.accidents.training.learning_curve import compute_learning_curve
from accident_reco.models.accidents.training.training_rows import (
    Columns,
    extract_columns,
    get_fold,
    mask_rows,
    severe_label,
    take,
)

# Columns of the feature table besides the features themselves.
NUM_ACC, LABEL, TARGET, WEIGHT, ORIGIN = "Num_Acc", "grave", "target", "weight", "origin"
REAL, MASKED, SYNTHETIC = 0, 1, 2
_CALIBRATED_BY: Final = (NUM_ACC, "grav", "dep", "agg", "catu", "catv")


def build_training_frame(victims: pd.DataFrame, synthetic: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """Real road users outside of the holdout, and synthetic ones up to `share` of the result (0.5: one per real one).

    Columns are those of the synthetic frame, `synthetic` among them.

    Raises:
        ValueError: there are too few synthetic rows.
    """
    names = [name for name in synthetic.columns if name != "synthetic"]
    real = np.flatnonzero(~in_holdout(victims[NUM_ACC].to_numpy()))
    wanted = round(len(real) * share / (1 - share))
    if wanted > len(synthetic):
        raise ValueError(f"a share of {share:g} needs {wanted} synthetic road users, there are {len(synthetic)}")
    chosen = np.sort(np.random.default_rng(seed).permutation(len(synthetic))[:wanted])
    # Column by column: two million road users of either kind are never in memory twice.
    columns = {
        name: np.concatenate([victims[name].to_numpy()[real], synthetic[name].to_numpy()[chosen]]) for name in names
    }
    return pd.DataFrame({**columns, "synthetic": np.repeat([False, True], [len(real), wanted])}, copy=False)


def learn_spec(training: pd.DataFrame, feature_set: str) -> FeatureSpec:
    """Feature spec learnt from the real training rows."""
    real = extract_real_columns(training)
    return FeatureSpec.learn(real, feature_set, severe_label(real["grav"]))


def build_feature_frame(training: pd.DataFrame, config: TrainingConfig) -> pd.DataFrame:
    """Model matrix: real rows, rows with simulated missing values, synthetic rows; with label, target, weight, origin.

    The target of a real row (`_target`) is its label combined with its soft label (see `soft_labels`); `_target_0` …
    are the targets of the fits that are calibrated on that fold, NaN in its own rows.

    The features are one array whose rows are contiguous, which `extract_rows` does not copy.
    """
    spec = learn_spec(training, config.feature_set)
    columns = extract_columns(training)
    real, synthetic = take(columns, ~columns["synthetic"]), take(columns, columns["synthetic"])
    targets = _soften_labels(real, config)
    recorded = dict.fromkeys(targets, severe_label(synthetic["grav"]).astype(np.float32))
    parts = [(REAL, 1.0, real, targets)]
    if config.max_missing_fraction:
        parts.append((MASKED, config.masked_weight, real, targets))
    parts.append((SYNTHETIC, config.synthetic_weight, synthetic, recorded))
    kept = [_select_thinned_rows(len(of_rows[TARGET]), weight, config, origin) for origin, weight, _, of_rows in parts]
    ends = np.cumsum([len(chosen) for chosen in kept])
    matrix = np.empty((ends[-1], len(spec.names)), dtype=np.float32)
    extra: dict[str, NDArray[Any]] = {
        NUM_ACC: np.empty(len(matrix), dtype=np.int64),
        LABEL: np.empty(len(matrix), dtype=np.int8),
        **{name: np.empty(len(matrix), dtype=np.float32) for name in (*targets, WEIGHT)},
        ORIGIN: np.empty(len(matrix), dtype=np.int8),
    }
    for (origin, weight, rows, of_rows), chosen, end in zip(parts, kept, ends, strict=True):
        if not len(chosen):
            continue
        if origin == MASKED:
            rows = mask_rows(rows, spec, config.max_missing_fraction, config.seed)
        rows = take(rows, chosen) if len(chosen) < len(of_rows[TARGET]) else rows
        place = slice(end - len(chosen), end)
        # Synthetic rows count as training rows too: their coordinates come from a real accident of the training set.
        fill_features(matrix[place], rows, spec, training_rows=True)
        extra[NUM_ACC][place], extra[LABEL][place] = rows[NUM_ACC], severe_label(rows["grav"])
        for name, target in of_rows.items():
            extra[name][place] = target[chosen]
        extra[WEIGHT][place], extra[ORIGIN][place] = max(weight, config.min_row_weight), origin
    frame = pd.DataFrame(matrix, columns=list(spec.names), copy=False)
    for name, values in extra.items():
        frame[f"_{name}"] = values
    return frame


def _select_thinned_rows(rows: int, weight: float, config: TrainingConfig, origin: int) -> NDArray[np.intp]:
    """Positions of a random subset whose total weight is that of all `rows` at `weight`, ascending."""
    count = round(rows * min(weight / config.min_row_weight, 1.0))
    return np.sort(np.random.default_rng([config.seed, origin]).permutation(rows)[:count])


def get_target_name(held_out: int) -> str:
    """Name of the target of the fit that is calibrated on a fold."""
    return f"{TARGET}_{held_out}"


def _soften_labels(real: Columns, config: TrainingConfig) -> dict[str, NDArray[np.float32]]:
    """Targets of every real row by name, shape (n,): label and soft label, the latter with `soft_label_weight`."""
    label = severe_label(real["grav"]).astype(np.float32)
    folds = config.count_calibration_folds(len(label))
    names = [TARGET, *(get_target_name(fold) for fold in range(folds))]
    if not config.soft_label_weight or not len(label):
        return dict.fromkeys(names, label)
    whole, by_fold = soft_labels.predict_out_of_fold(
        real, soft_labels.select_soft_label_parameters(len(label)), config.seed, config.jobs
    )
    weight = np.float32(config.soft_label_weight)
    soft = zip(names, (whole, *by_fold), strict=False)
    return {name: (1 - weight) * label + weight * values.astype(np.float32) for name, values in soft}


def extract_rows(features: pd.DataFrame, target: str = TARGET) -> tuple[TrainingRows, NDArray[np.int64]]:
    """Training rows of the feature table with one of its targets, and their accident numbers, shape (n,)."""
    matrix = np.ascontiguousarray(extract_features(features).to_numpy(dtype=np.float32))
    values, weight = (features[f"_{name}"].to_numpy(np.float32) for name in (target, WEIGHT))
    return TrainingRows(matrix, values, weight), features[f"_{NUM_ACC}"].to_numpy(np.int64)


def extract_features(features: pd.DataFrame) -> pd.DataFrame:
    """The feature table without its other columns; shares the memory of its matrix (a list of columns would copy)."""
    own = features.copy(deep=False)
    for name in features.columns:
        if str(name).startswith("_"):
            own.pop(name)
    return own


def select_search_rows(features: pd.DataFrame) -> tuple[TrainingRows, NDArray[np.int64], NDArray[np.bool_]]:
    """Rows for the parameter search: real rows with their recorded label.

    Returns the rows, their accident numbers, and which of them have no simulated missing values; each of length n.
    """
    chosen = features[(features[f"_{ORIGIN}"] != SYNTHETIC).to_numpy()]
    rows, num_acc = extract_rows(chosen)
    return (
        TrainingRows(rows.x, chosen[f"_{LABEL}"].to_numpy(np.int8), rows.weight),
        num_acc,
        (chosen[f"_{ORIGIN}"] == REAL).to_numpy(),
    )


@dataclass(frozen=True)
class Prepared:
    """What a fit takes from the training set, which then need not stay in memory beside the model matrix.

    Args:
        people: real road users of the training set.
        spec: feature spec learnt from them.
        columns: those raw columns of the ones that calibrate, shape (n,) each, by which bounds differ: of whole folds
            of accidents.
        matrix: their features, shape (n, features).
        folds: number of these folds.
        advice: `advice.json`.
    """

    people: int
    spec: FeatureSpec
    columns: Columns
    matrix: NDArray[np.float32]
    folds: int
    advice: bytes


def prepare(training: pd.DataFrame, config: TrainingConfig) -> Prepared:
    """Learn from a training set what the fit of any candidate needs of it."""
    real = extract_real_columns(training)
    people = len(real[NUM_ACC])
    spec = FeatureSpec.learn(real, config.feature_set, severe_label(real["grav"]))
    advice = learn_advice_table(real, spec.columns).to_json()
    folds = config.count_calibration_folds(people)
    real = take(real, get_fold(real[NUM_ACC]) < folds)
    matrix = build_features(real, spec, training_rows=True)
    return Prepared(people, spec, {name: real[name] for name in _CALIBRATED_BY}, matrix, folds, advice)


@dataclass(frozen=True)
class Trained:
    """A fitted candidate: bundle files; out-of-fold margins and labels of real rows, to compare candidates; the
    learning curve of the last fold's trees on that fold; and `rows_per_tree` where a tree does not draw the share of
    the rows that its parameters state."""

    files: dict[str, bytes]
    validation_margin: NDArray[np.float32]
    validation_label: NDArray[np.int8]
    history: History
    bounds: dict[str, str] = field(default_factory=dict)


@threadpool_limits.wrap(limits=1, user_api="blas")  # sums in one order, whatever the number of cores
def train(features: pd.DataFrame, prepared: Prepared, parameters: Parameters, config: TrainingConfig) -> Trained:
    """Fit without each calibration fold, calibrate on the margins of its real rows, refit on all rows, export."""
    spec, matrix, real = prepared.spec, prepared.matrix, prepared.columns
    real_fold, label = get_fold(real[NUM_ACC]), severe_label(real["grav"])
    margin = np.empty(len(label), dtype=np.float32)
    first = reduce_for_calibration(parameters) if config.refit else parameters
    for held_out in range(prepared.folds):
        rows, num_acc = extract_rows(features, get_target_name(held_out))
        trees = fit(rows, first, config.seed, config.jobs, get_fold(num_acc) != held_out)
        own = real_fold == held_out
        margin[own] = build_uncalibrated_scorer(trees, spec).margin(matrix[own])
    history = compute_learning_curve(trees, first, matrix[own], label[own])
    rule = fit_decision_rule(margin, label, config.miss_cost, config.coverage, config.seed)
    rule = replace(rule, groups=fit_group_bounds(rule, margin, label, real))
    rows = extract_rows(features)[0]
    if config.refit:
        trees = fit(rows, parameters, config.seed, config.jobs)
    files = {
        MODEL_FILE: to_onnx(trees, len(spec.names)),
        FEATURES_FILE: spec.to_json(),
        DECISION_FILE: rule.to_json(),
        TREES_FILE: trees.to_npz(),
        ADVICE_FILE: prepared.advice,
    }
    return Trained(files, margin, label, history, describe_rows_per_tree(rows, parameters))


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


def extract_real_columns(training: pd.DataFrame) -> Columns:
    """Columns of the real training rows."""
    return extract_columns(training[~training["synthetic"]])
