"""Answers of many rows, computed on several threads."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest

from accident_reco.models.accidents.scoring import scorer as scoring
from accident_reco.models.accidents.scoring.scorer import THREAD_ROWS, AccidentScorer
from accident_reco_tests.support.real_accidents import random_columns, real_bundle

THREADS = 3
ROWS = THREADS * THREAD_ROWS + 7


@pytest.fixture
def scorer(monkeypatch: pytest.MonkeyPatch) -> AccidentScorer:
    """A version on a machine with that many cores, whatever this one has."""
    scoring._open_pool.cache_clear()
    monkeypatch.setattr(scoring, "_count_cores", lambda: THREADS)
    return AccidentScorer.from_files(real_bundle(rounds=20, rows=400).files)


def test_many_rows_have_the_answers_of_each_alone(scorer: AccidentScorer, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = random_columns(ROWS, seed=3)
    together = scorer.answer(columns)
    monkeypatch.setattr(scorer, "_margin_on_threads", None)  # small requests have no thread but their own
    for start in range(0, ROWS, THREAD_ROWS):
        part = slice(start, start + THREAD_ROWS)
        alone = scorer.answer({name: values[part] for name, values in columns.items()})
        assert np.array_equal(together.probability[part], alone.probability)
        assert np.array_equal(together.severe[part], alone.severe)
        assert np.array_equal(together.uncertain[part], alone.uncertain)


def test_a_fork_has_threads_of_its_own(scorer: AccidentScorer) -> None:
    columns = random_columns(ROWS, seed=4)
    expected = scorer.answer(columns).probability
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=lambda: results.put(scorer.answer(columns).probability))
    child.start()
    child.join(30)
    try:
        assert child.exitcode == 0
        assert np.array_equal(results.get(), expected)
    finally:
        child.kill()
