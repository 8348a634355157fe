"""One candidate from training rows: trees, calibration, bundle files. Evaluation on the holdout is in `evaluation`."""

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
    DECISION_FILE,
    FEATURES_FILE,
    MODEL_FILE,
    TREES_FILE,
    AccidentScorer,
)
from accident_reco.models.accidents.scoring.trees import Trees
from accident_reco.models.accidents.training import soft_labels
from accident_reco.models.accidents.training.calibration import fit_rule
from accident_reco.models.accidents.training.export import to_onnx
from accident_reco.models.accidents.training.fitting import Parameters, TrainingRows, fit, to_calibrate
from accident_reco.models.accidents.training.training_rows import (
    Columns,
    columns_of,
    in_validation,
    masked_copy,
    severe_label,
    take,
)

# Columns of the feature table besides the features themselves.
NUM_ACC, LABEL, TARGET, WEIGHT, ORIGIN = "Num_Acc", "grave", "target", "weight", "origin"
REAL, MASKED, SYNTHETIC = 0, 1, 2


@dataclass(frozen=True)
class Recipe:
    """How training rows are made and judged.

    Args:
        feature_set: `call` or `full`.
        synthetic_weight: what a synthetic row counts against a real one.
        masked_weight: what a row with gaps counts against the same row without.
        least_weight: of rows that would count less, fewer are learnt, at this weight: as much said in less time.
        mask_most: rows are learnt a second time with up to this share of their fields unknown; 0 for never.
        teacher_share: how much of what is learnt of a real person is a teacher's word, not the label; 0 for nothing.
        validation_share: of the training accidents, for calibration and choices.
        miss_cost: how many false alarms one missed grave injury is worth.
        coverage: of the conformal doubt.
        refit: whether the trees see the validation rows too, once calibration is done.
        seed, jobs: randomness and threads.
    """

    feature_set: str = "call"
    synthetic_weight: float = 0.05
    masked_weight: float = 0.4
    least_weight: float = 0.5
    mask_most: float = 0.8
    teacher_share: float = 0.5
    validation_share: float = 0.1
    miss_cost: float = 4.0
    coverage: float = 0.9
    refit: bool = True
    seed: int = 20
    jobs: int = 2


def training_frame(victims: pd.DataFrame, synthetic: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """Real people outside of the holdout, and synthetic ones up to `share` of the result (0.5: one for each real one).

    Columns are those of the synthetic frame; `synthetic` tells the two apart. Raises ValueError when the synthetic rows
    are too few.
    """
    names = [name for name in synthetic.columns if name != "synthetic"]
    real = victims.loc[~in_holdout(victims[NUM_ACC].to_numpy()), names].assign(synthetic=False)
    wanted = round(len(real) * share / (1 - share))
    if wanted > len(synthetic):
        raise ValueError(f"{wanted} synthetic people are needed for a share of {share:g}, there are {len(synthetic)}")
    chosen = np.sort(np.random.default_rng(seed).permutation(len(synthetic))[:wanted])
    return pd.concat([real, synthetic.iloc[chosen]], ignore_index=True)


def spec_of(training: pd.DataFrame, feature_set: str) -> FeatureSpec:
    """The feature spec that the real training rows teach."""
    return FeatureSpec.learn(columns_of(training[~training["synthetic"]]), feature_set)


def feature_frame(training: pd.DataFrame, recipe: Recipe) -> pd.DataFrame:
    """Matrix of all rows that trees are fitted on: real, real with gaps, synthetic; with label, weight and origin.

    What is learnt of a real person (`_target`) is the label moved towards what a teacher says (`teacher`).
    """
    spec = spec_of(training, recipe.feature_set)
    columns = columns_of(training)
    real, synthetic = take(columns, ~columns["synthetic"]), take(columns, columns["synthetic"])
    target = _softened(real, recipe)
    parts = [(REAL, 1.0, real, target)]
    if recipe.mask_most:
        masked = masked_copy(real, spec, recipe.mask_most, recipe.seed)
        parts.append((MASKED, recipe.masked_weight, masked, target))
    parts.append((SYNTHETIC, recipe.synthetic_weight, synthetic, severe_label(synthetic["grav"]).astype(np.float32)))
    frames = []
    for origin, weight, rows, learnt in parts:
        kept = _thinned(len(learnt), weight, recipe, origin)
        if not len(kept):
            continue
        rows = take(rows, kept)
        # A synthetic person stands close to the real one who lent the place, and is no accident of their own.
        frame = pd.DataFrame(build_features(rows, spec, seen=True), columns=list(spec.names), copy=False)
        about = {NUM_ACC: rows[NUM_ACC], LABEL: severe_label(rows["grav"]), TARGET: learnt[kept],
                 WEIGHT: np.full(len(kept), max(weight, recipe.least_weight), dtype=np.float32),
                 ORIGIN: np.full(len(kept), origin, dtype=np.int8)}  # fmt: skip
        for name, values in about.items():
            frame[f"_{name}"] = values
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _thinned(rows: int, weight: float, recipe: Recipe, origin: int) -> NDArray[np.intp]:
    """Positions of the rows that stay, so that together they count as all of them would at `weight`."""
    stay = round(rows * min(weight / recipe.least_weight, 1.0))
    return np.sort(np.random.default_rng([recipe.seed, origin]).permutation(rows)[:stay])


def _softened(real: Columns, recipe: Recipe) -> NDArray[np.float32]:
    """Label of every real row, moved towards its teachers' word by `teacher_share`."""
    label = severe_label(real["grav"]).astype(np.float32)
    if not recipe.teacher_share or not len(label):
        return label
    apart = in_validation(real[NUM_ACC], recipe.validation_share)
    said = soft_labels.out_of_fold(real, apart, soft_labels.parameters_for(len(label)), recipe.seed, recipe.jobs)
    share = np.float32(recipe.teacher_share)
    return (1 - share) * label + share * said.astype(np.float32)


def rows_of(features: pd.DataFrame) -> tuple[TrainingRows, NDArray[np.int64]]:
    """Training rows and their accidents, from the feature table."""
    names = [name for name in features.columns if not str(name).startswith("_")]
    matrix = np.ascontiguousarray(features[names].to_numpy(dtype=np.float32))
    target, weight = (features[f"_{name}"].to_numpy(np.float32) for name in (TARGET, WEIGHT))
    return TrainingRows(matrix, target, weight), features[f"_{NUM_ACC}"].to_numpy(np.int64)


def search_rows(features: pd.DataFrame, recipe: Recipe) -> tuple[TrainingRows, NDArray[np.int64], NDArray[np.bool_]]:
    """What parameters are searched on: real rows outside of validation with their label, accidents, which are whole."""
    numbers = features[f"_{NUM_ACC}"].to_numpy(np.int64)
    kept = (features[f"_{ORIGIN}"] != SYNTHETIC).to_numpy() & ~in_validation(numbers, recipe.validation_share)
    chosen = features[kept]
    rows, num_acc = rows_of(chosen)
    return (
        TrainingRows(rows.x, chosen[f"_{LABEL}"].to_numpy(np.int8), rows.weight),
        num_acc,
        (chosen[f"_{ORIGIN}"] == REAL).to_numpy(),
    )


@dataclass(frozen=True)
class Trained:
    """A fitted candidate: bundle files, and what it says of the real validation rows, to choose by."""

    files: dict[str, bytes]
    validation_margin: NDArray[np.float32]
    validation_label: NDArray[np.int8]
    trees: Trees


@threadpool_limits.wrap(limits=1, user_api="blas")  # sums in one order, whatever the number of cores
def train(features: pd.DataFrame, training: pd.DataFrame, parameters: Parameters, recipe: Recipe) -> Trained:
    """Fit, calibrate on real validation rows, refit on everything, export."""
    spec = spec_of(training, recipe.feature_set)
    rows, num_acc = rows_of(features)
    validation = in_validation(num_acc, recipe.validation_share)
    first = to_calibrate(parameters) if recipe.refit else parameters
    trees = fit(rows.where(~validation), first, recipe.seed, recipe.jobs)
    judged = columns_of(training[in_validation(training[NUM_ACC].to_numpy(), recipe.validation_share)])
    matrix, label = build_features(judged, spec, seen=True), severe_label(judged["grav"])
    margin = scorer_of(trees, spec).margin(matrix)
    rule = fit_rule(margin, label, recipe.miss_cost, recipe.coverage, recipe.seed)
    if recipe.refit:
        trees = fit(rows, parameters, recipe.seed, recipe.jobs)
    files = {
        MODEL_FILE: to_onnx(trees, len(spec.names)),
        FEATURES_FILE: spec.to_json(),
        DECISION_FILE: rule.to_json(),
        TREES_FILE: trees.to_npz(),
    }
    return Trained(files, margin, label, trees)


def scorer_of(trees: Trees, spec: FeatureSpec) -> AccidentScorer:
    """A scorer of bare trees, before there is a rule: probabilities are not to be asked for."""
    from accident_reco.models.accidents.scoring.scorer import Rule, _session

    ends = np.array([0.0, 1.0])
    return AccidentScorer(_session(to_onnx(trees, len(spec.names))), spec, Rule(ends, ends, 0.5, 1.0, 0.0, 0.0))


def signature_of(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Inputs and outputs of a bundle: raw columns in, probability, class and doubt out."""
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


PROFILE_LEFT_OUT: Final = frozenset({"an", "mois", "jour", "com"})
NUMERIC: Final = frozenset({"hrmn", "an_nais", "driver_an_nais", "other_an_nais", "lat", "long", "vma", "nbv"})


def profile_kinds(spec: FeatureSpec) -> dict[str, Any]:
    """Kind of every raw column in the reference profile. Time itself and single communes are no drift."""
    return {
        name: "numeric" if name in NUMERIC or name.startswith(("nb_", "others_")) else "categorical"
        for name in spec.columns
        if name not in PROFILE_LEFT_OUT
    }


def real_columns(training: pd.DataFrame) -> Columns:
    """The real training rows."""
    return columns_of(training[~training["synthetic"]])
