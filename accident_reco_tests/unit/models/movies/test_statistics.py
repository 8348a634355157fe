"""Variety of the latest recommendations, from the lists of the prediction log."""

from __future__ import annotations

import numpy as np
import pytest

from accident_reco.models.movies.scoring.recommender import Recommender
from accident_reco.models.movies.serving.statistics import measure_lists
from accident_reco_tests.support.real_movies import movie_bundle


@pytest.fixture(scope="module")
def version() -> Recommender:
    return Recommender.from_files(movie_bundle(3_000).files)


def test_diversity_is_the_distance_within_lists(version: Recommender) -> None:
    """By hand for one pair; a list of one movie, or of unknown ones, has none."""
    first, second, third = (int(version.movie_id[row]) for row in np.flatnonzero(version._rated)[:3])
    rows = version.movies.find_positions(np.array([first, second]))[0]
    expected = 1 - version.compute_similarity(rows)[0, 1]
    found = measure_lists(version, [[first, second], [third], [10**9, 10**9 + 1]])
    assert found["diversity"] == pytest.approx(expected, abs=1e-4)
    assert found["coverage"] == pytest.approx(3 / version.count_rated(), abs=1e-4)


def test_no_lists_have_no_variety(version: Recommender) -> None:
    """Null, not zero."""
    assert measure_lists(version, []) == {"diversity": None, "coverage": None}
