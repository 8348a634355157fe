"""Rows of several requests as one: what each of them scores alone, bit for bit."""

from __future__ import annotations

import numpy as np

from accident_reco.models.accidents.scoring.scorer import AccidentScorer
from accident_reco.models.accidents.serving.columns import merge_columns, to_columns, transpose
from accident_reco_tests.support.real_accidents import random_columns, real_bundle


def test_merged_requests_score_as_each_alone() -> None:
    """Requests have different fields; what one of them lacks is unknown in its rows, whatever its type."""
    scorer = AccidentScorer.from_files(real_bundle(rounds=5, rows=400).files)
    random, columns = np.random.default_rng(2), random_columns(60, seed=1)
    names = sorted(columns)
    rows = [{name: columns[name].tolist()[row] for name in names if random.random() < 0.6} for row in range(60)]
    parts = [
        to_columns(transpose(rows[start : start + size], names)) for start, size in ((0, 1), (1, 1), (2, 20), (22, 38))
    ]
    singly = [scorer.answer(part) for part in parts]
    merged = merge_columns(parts)
    together = scorer.answer(merged)
    for name in ("probability", "severe", "uncertain"):
        expected = np.concatenate([getattr(answer, name) for answer in singly])
        assert np.array_equal(getattr(together, name), expected)
    alike = to_columns(transpose(rows, names))
    assert merged.keys() == alike.keys()
    for name, values in alike.items():
        assert merged[name].dtype == values.dtype
        assert merged[name].tolist() == values.tolist() or np.array_equal(merged[name], values, equal_nan=True)
