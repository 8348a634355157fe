"""Rows of several requests as one: what each of them scores alone, bit for bit."""

from __future__ import annotations

from itertools import chain

import numpy as np

from accident_reco.models.accidents.scoring.scorer import AccidentScorer
from accident_reco.models.accidents.serving.columns import RawRows, merge_rows, to_columns, transpose
from accident_reco_tests.support.real_accidents import random_columns, real_bundle


def test_merged_requests_score_as_each_alone() -> None:
    """Requests have different fields; what one of them lacks is unknown in its rows, whatever its type."""
    scorer = AccidentScorer.from_files(real_bundle(rounds=5, rows=400).files)
    random, columns = np.random.default_rng(2), random_columns(60, seed=1)
    names = sorted(columns)
    rows = [{name: columns[name].tolist()[row] for name in names if random.random() < 0.6} for row in range(60)]
    groups = [rows[start : start + size] for start, size in ((0, 1), (1, 1), (2, 20), (22, 38))]
    parts = [RawRows(len(group), transpose(group, dict.fromkeys(chain.from_iterable(group)))) for group in groups]
    parts.append(RawRows(2, {}))
    singly = [scorer.answer(part.columns) for part in parts]
    # As lists, and as columns, which the first request's are already.
    for merged in (merge_rows([RawRows(p.n, p.values) for p in parts]), merge_rows(parts)):
        assert merged.n == 62
        together = scorer.answer(merged.columns)
        for name in ("probability", "severe", "uncertain"):
            expected = np.concatenate([getattr(answer, name) for answer in singly])
            assert np.array_equal(getattr(together, name), expected)
        for part, alone in zip(together.divide([part.n for part in parts]), singly, strict=True):
            assert part.probability.tolist() == alone.probability.tolist()
            assert part.severe.tolist() == alone.severe.tolist()
            assert part.uncertain.tolist() == alone.uncertain.tolist()
        alike = to_columns(transpose([*rows, {}, {}], names))
        assert merged.columns.keys() == alike.keys()
        for name, values in alike.items():
            same = merged.columns[name]
            assert same.dtype == values.dtype
            assert same.tolist() == values.tolist() or np.array_equal(same, values, equal_nan=True)
