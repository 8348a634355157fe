"""What must hold of each training artefact before the next one may use it: None, or what is wrong in words."""

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
from accident_reco.models.accidents.synthesis.constraints import broken
from accident_reco.models.accidents.training.candidate import NUM_ACC, rows_of
from accident_reco.models.accidents.training.training_rows import columns_of
from accident_reco.models.accidents.training.tuning import SPACE, outside_of_space

LARGEST_BUNDLE = 60 * 1024**2
TOLERANCE = 1e-5
ROWS = 512


def synthetic_people(frame: pd.DataFrame) -> str | None:
    """Every rule of the constraints is kept and no accident number can be taken for a real one."""
    if not len(frame):
        return None
    violations = {name: int(rows.sum()) for name, rows in broken(columns_of(frame)).items() if rows.any()}
    if violations:
        return "; ".join(f"{count} people break: {name}" for name, count in violations.items())
    if (frame[NUM_ACC] >= 0).any():
        return "a synthetic person has the accident number of a real accident"
    return None


def training_people(frame: pd.DataFrame, share: float, excluded: NDArray[np.int64]) -> str | None:
    """No holdout accident, by number or by content (`excluded`), both classes, the synthetic share as configured."""
    real = frame.loc[~frame["synthetic"]]
    leaked = int(in_holdout(real[NUM_ACC].to_numpy()).sum())
    if leaked:
        return f"{leaked} people belong to held-out accidents"
    doubled = np.unique(real.loc[np.isin(real[NUM_ACC].to_numpy(), excluded), NUM_ACC])
    if len(doubled):
        return f"accidents with the content of another one under another number: {len(doubled)}, such as {doubled[0]}"
    found = float(frame["synthetic"].mean())
    if abs(found - share) > 0.01:
        return f"the synthetic share is {found:.3f}, not {share:g}"
    grave = int(is_severe(real["grav"]).sum())
    return None if 0 < grave < len(real) else f"{grave} of {len(real)} real people are gravely hurt: nothing to learn"


def feature_table(frame: pd.DataFrame, feature_set: str) -> str | None:
    """The columns are the spec's, in order; no infinity; no feature that nobody has."""
    names = [str(name) for name in frame.columns if not str(name).startswith("_")]
    if tuple(names) != FeatureSpec(feature_set).names:
        return "the columns are not those of the feature spec"
    rows, _ = rows_of(frame)
    if np.isinf(rows.x).any():
        return "a feature is infinite"
    empty = [names[column] for column in np.flatnonzero(np.isnan(rows.x).all(axis=0))]
    return f"no row has a value of {', '.join(empty)}" if len(empty) > len(names) // 4 else None


def sample_of(features: pd.DataFrame) -> NDArray[np.float32]:
    """Some rows of the feature table, the same ones each time, for `exported_model`."""
    names = [name for name in features.columns if not str(name).startswith("_")]
    return features[names].sample(ROWS, random_state=0, replace=True).to_numpy(np.float32)


def tuned_document(document: Mapping[str, Any]) -> str | None:
    """Values of the declared space only, none of them chosen for less than what was in use."""
    strange = [name for algorithm in SPACE for name in outside_of_space(algorithm, document[algorithm]["chosen"])]
    if strange:
        return f"not of the declared space: {', '.join(strange)}"
    lost = [algorithm for algorithm in SPACE if document[algorithm]["gain"] < 0]
    return f"worse than what was in use: {', '.join(lost)}" if lost else None


def exported_model(files: Mapping[str, bytes], sample: NDArray[np.float32]) -> str | None:
    """The bundle loads, is small enough, and answers as the trees it was exported from, alone as in a batch."""
    size = sum(len(content) for content in files.values())
    if size > LARGEST_BUNDLE:
        return f"the bundle has {size / 1024**2:.0f} MB, more than {LARGEST_BUNDLE / 1024**2:.0f}"
    absent = [name for name in (MODEL_FILE, FEATURES_FILE, DECISION_FILE, TREES_FILE) if name not in files]
    if absent:
        return f"the bundle lacks {', '.join(absent)}"
    scorer, rows = AccidentScorer.from_files(files), np.ascontiguousarray(sample[:ROWS])
    margin = scorer.margin(rows)
    plain = Trees.from_npz(files[TREES_FILE]).margin(rows)
    distance = float(np.abs(scorer.rule.probability(margin) - np.interp(plain, scorer.rule.x, scorer.rule.y)).max())
    if distance > TOLERANCE:
        return f"ONNX differs from the trees by {distance:.1e}, more than {TOLERANCE:g}"
    alone = np.concatenate([scorer.margin(rows[i : i + 1]) for i in range(len(rows))])
    if alone.tobytes() != margin.tobytes():
        return "a record alone is answered differently from the same record in a batch"
    return None
