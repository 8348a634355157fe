"""Checks of training artefacts, before the next step uses them. Each returns None or the problem in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accident_reco.lifecycle.holdout import in_holdout
from accident_reco.models.accidents.data.severity import is_severe
from accident_reco.models.accidents.features.builder import FeatureSpec
from accident_reco.models.accidents.scoring.scorer import (
    DECISION_FILE,
    FEATURES_FILE,
    MODEL_FILE,
    TREES_FILE,
    AccidentScorer,
)
from accident_reco.models.accidents.scoring.trees import Trees
from accident_reco.models.accidents.synthesis.constraints import find_violations
from accident_reco.models.accidents.training.candidate import NUM_ACC, extract_features, extract_rows
from accident_reco.models.accidents.training.training_rows import extract_columns
from accident_reco.models.accidents.training.tuning import SPACE, find_values_outside_space

MAX_BUNDLE_BYTES = 60 * 1024**2
MAX_PROBABILITY_ERROR = 1e-5
SAMPLE_ROWS = 512


def check_synthetic_rows(frame: pd.DataFrame) -> str | None:
    """Every row satisfies the constraints, and no accident number could be a real one."""
    if not len(frame):
        return None
    violations = {name: int(rows.sum()) for name, rows in find_violations(extract_columns(frame)).items() if rows.any()}
    if violations:
        return "; ".join(f"{count} road users violate: {name}" for name, count in violations.items())
    if (frame[NUM_ACC] >= 0).any():
        return "a synthetic road user has the accident number of a real accident"
    return None


def check_training_rows(frame: pd.DataFrame, share: float, excluded: NDArray[np.int64]) -> str | None:
    """No holdout accident by number or by content (`excluded`, shape (m,)); both classes; the configured share."""
    real = frame.loc[~frame["synthetic"]]
    leaked = int(in_holdout(real[NUM_ACC].to_numpy()).sum())
    if leaked:
        return f"{leaked} road users belong to held-out accidents"
    repeated = np.unique(real.loc[np.isin(real[NUM_ACC].to_numpy(), excluded), NUM_ACC])
    if len(repeated):
        return f"accidents with the content of another one under another number: {len(repeated)}, such as {repeated[0]}"
    found = float(frame["synthetic"].mean())
    if abs(found - share) > 0.01:
        return f"the synthetic share is {found:.3f}, not {share:g}"
    severe = int(is_severe(real["grav"]).sum())
    if 0 < severe < len(real):
        return None
    return f"{severe} of {len(real)} real road users are killed or hospitalised: both classes are needed"


def check_feature_table(frame: pd.DataFrame, feature_set: str) -> str | None:
    """The columns are the spec's, in order; no value is infinite; at most a quarter of the columns is empty."""
    names = [str(name) for name in frame.columns if not str(name).startswith("_")]
    if tuple(names) != FeatureSpec(feature_set).names:
        return "the columns are not those of the feature spec"
    rows, _ = extract_rows(frame)
    if np.isinf(rows.x).any():
        return "a feature is infinite"
    empty = [names[column] for column in np.flatnonzero(np.isnan(rows.x).all(axis=0))]
    return f"no row has a value of {', '.join(empty)}" if len(empty) > len(names) // 4 else None


def sample_features(features: pd.DataFrame) -> NDArray[np.float32]:
    """A fixed random sample of the feature table, shape (512, features), for `check_exported_model`."""
    return extract_features(features).sample(SAMPLE_ROWS, random_state=0, replace=True).to_numpy(np.float32)


def check_tuned_parameters(document: Mapping[str, Any]) -> str | None:
    """Chosen values are in the declared space, and not worse than the parameters in use before."""
    outside = [
        name for algorithm in SPACE for name in find_values_outside_space(algorithm, document[algorithm]["chosen"])
    ]
    if outside:
        return f"not in the declared space: {', '.join(outside)}"
    worse = [algorithm for algorithm in SPACE if document[algorithm]["gain"] < 0]
    return f"worse than the parameters in use before: {', '.join(worse)}" if worse else None


def check_exported_model(files: Mapping[str, bytes], sample: NDArray[np.float32]) -> str | None:
    """The bundle loads, is small enough, and predicts as its trees do, the same for single rows as for a batch."""
    size = sum(len(content) for content in files.values())
    if size > MAX_BUNDLE_BYTES:
        return f"the bundle has {size / 1024**2:.0f} MB, more than {MAX_BUNDLE_BYTES / 1024**2:.0f}"
    absent = [name for name in (MODEL_FILE, FEATURES_FILE, DECISION_FILE, TREES_FILE) if name not in files]
    if absent:
        return f"the bundle lacks {', '.join(absent)}"
    scorer, rows = AccidentScorer.from_files(files), np.ascontiguousarray(sample[:SAMPLE_ROWS])
    margin = scorer.margin(rows)
    expected = Trees.from_npz(files[TREES_FILE]).margin(rows)
    error = float(np.abs(scorer.rule.probability(margin) - np.interp(expected, scorer.rule.x, scorer.rule.y)).max())
    if error > MAX_PROBABILITY_ERROR:
        return f"ONNX differs from the trees by {error:.1e}, more than {MAX_PROBABILITY_ERROR:g}"
    single = np.concatenate([scorer.margin(rows[i : i + 1]) for i in range(len(rows))])
    if single.tobytes() != margin.tobytes():
        return "the prediction of a single record differs from that of the same record in a batch"
    return None
