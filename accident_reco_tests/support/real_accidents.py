"""An accident model fitted in seconds on random rows: real files and scorer, meaningless predictions."""

from __future__ import annotations

import numpy as np

from accident_reco.lifecycle.bundle import CARD_FILE, REFERENCE_FILE, Bundle
from accident_reco.lifecycle.evaluation import EVALUATION_FILE
from accident_reco.lifecycle.reference import build_reference, reference_bytes
from accident_reco.models.accidents.codebook import FIELDS
from accident_reco.models.accidents.features.builder import FLOAT_COLUMNS, TEXT_COLUMNS, FeatureSpec, build_features
from accident_reco.models.accidents.scoring.scorer import (
    ADVICE_FILE,
    DECISION_FILE,
    FEATURES_FILE,
    MODEL_FILE,
    TREES_FILE,
    AccidentScorer,
)
from accident_reco.models.accidents.training.advice_table import learn_advice_table
from accident_reco.models.accidents.training.assembly import get_profile_kinds
from accident_reco.models.accidents.training.calibration import fit_decision_rule
from accident_reco.models.accidents.training.candidate import (
    build_signature,
    build_uncalibrated_scorer,
)
from accident_reco.models.accidents.training.evaluation import (
    Holdout,
    HoldoutReport,
    build_evaluation,
    evaluate_slices,
)
from accident_reco.models.accidents.training.export import to_onnx
from accident_reco.models.accidents.training.fitting import BoostingParameters, TrainingRows, fit_boosting

MARKUP_CARD = """# Card of a *test*

<script>alert(1)</script> <b id="x">raw</b> [link](javascript:alert(2)) ![picture](http://example.org/a.png)

| slice | rows |
|---|---|
| <img src=x onerror=alert(3)> | 12 |
"""
_FRANCE = {"lat": (42.0, 51.0), "long": (-4.0, 7.0)}


def random_columns(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Column → `n` random valid BAAC values."""
    rng = np.random.default_rng(seed)
    columns: dict[str, np.ndarray] = {"Num_Acc": 202400000000 + np.arange(n, dtype=np.int64)}
    for name in FeatureSpec().columns:
        field = FIELDS.get(name)
        if name in TEXT_COLUMNS:
            columns[name] = rng.choice(np.array(["59", "75", "2A"], dtype=object), n)
        elif name in FLOAT_COLUMNS:
            columns[name] = rng.uniform(*_FRANCE[name], n)
        elif field is not None and field.codes is not None:
            columns[name] = rng.choice(np.array([-1, *field.codes], dtype=np.int32), n)
        elif field is not None:
            columns[name] = rng.integers(int(field.low or 0), int(field.high or 9) + 1, n).astype(np.int32)
        else:
            columns[name] = rng.integers(-1, 4, n).astype(np.int32)
    columns["an"] = np.full(n, 2024, dtype=np.int32)
    columns["hrmn"] = (rng.integers(0, 24, n) * 100).astype(np.int32)
    return columns


def real_bundle(rounds: int = 20, rows: int = 1500, seed: int = 0, *, is_complete: bool = False) -> Bundle:
    """A bundle with the files that serving needs; a complete one has reference profile, card and evaluation too."""
    columns = random_columns(rows, seed)
    spec = FeatureSpec.learn(columns)
    x = build_features(columns, spec, training_rows=True)
    y = ((columns["catu"] == 3) ^ (np.random.default_rng(seed).random(rows) < 0.2)).astype(np.int8)
    parameters = BoostingParameters(rounds=rounds, leaf=2)
    trees = fit_boosting(TrainingRows(x, y, np.ones(rows, dtype=np.float32)), parameters, seed, 1)
    rule = fit_decision_rule(
        build_uncalibrated_scorer(trees, spec).margin(x), y, miss_cost=4.0, coverage=0.9, seed=seed
    )
    files = {
        MODEL_FILE: to_onnx(trees, len(spec.names)),
        FEATURES_FILE: spec.to_json(),
        DECISION_FILE: rule.to_json(),
        TREES_FILE: trees.to_npz(),
        ADVICE_FILE: learn_advice_table(columns, spec.columns).to_json(),
    }
    metrics: dict[str, float] = {"roc_auc": 0.5}
    if is_complete:
        files |= _evidence(columns, AccidentScorer.from_files(files), y)
        metrics |= {"roc_auc": 0.75, "average_precision": 0.4, "ece": 0.02, "brier": 0.1}
    return Bundle(
        model="accidents",
        files=files,
        signature=build_signature(files),
        metrics=metrics,
        lineage={"data_source": "random", "sources": []},
        gate={"promote": True, "reason": "for a test"},
    )


def _evidence(columns: dict[str, np.ndarray], scorer: AccidentScorer, label: np.ndarray) -> dict[str, bytes]:
    """Reference profile, model card with a markup of its own, and evaluation."""
    score = scorer.probability(columns)
    profile = build_reference(
        columns,
        get_profile_kinds(scorer.spec),
        columns["Num_Acc"],
        score,
        label,
        model="accidents",
        data_source="random",
    )
    holdout = Holdout(columns, label)
    report = HoldoutReport(
        {"threshold": scorer.threshold}, evaluate_slices(holdout, score, 0)[:12], score, {"catu": 0.3}
    )
    return {
        REFERENCE_FILE: reference_bytes(profile),
        CARD_FILE: MARKUP_CARD.encode(),
        EVALUATION_FILE: build_evaluation(report, label).to_json(),
    }
