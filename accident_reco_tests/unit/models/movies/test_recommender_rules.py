"""The rules behind answers, without a version: cold start, popularity, title search, selection."""

from __future__ import annotations

import numpy as np
import pytest

from accident_reco.models.movies.candidates.selection import select_top
from accident_reco.models.movies.data.rating_totals import DAY_SECONDS, RatingTotals
from accident_reco.models.movies.data.ratings import Ratings
from accident_reco.models.movies.data.titles import TitleIndex
from accident_reco.models.movies.scoring import cold_start
from accident_reco.models.movies.training.popularity import compute_popularity


def test_search_in_titles() -> None:
    """Every word, in any case and order, inside words too, with or without accents; nothing for no words."""
    titles = TitleIndex(["Toy Story (1995)", "Story of Toys, The", "Heat (1995)", "STORY"])
    assert titles.search("story toy") == [0, 1]
    assert titles.search("1995") == [0, 2]
    assert titles.search("  ") == []
    assert titles.search("storyz") == []
    accented = TitleIndex(["Misérables, Les (1995)", "Amelie (Fabuleux destin d'Amélie Poulain, Le) (2001)"])
    assert accented.search("les miserables") == accented.search("MISÉRABLES") == [0]
    assert accented.search("amélie poulain") == [1]


def test_popularity_fades_and_is_damped() -> None:
    """One five-star rating does not top a hundred fours; ratings of ten years ago count less than new ones."""
    now = 2_000_000_000
    movie = np.array([0] + [1] * 100 + [2] * 20 + [3] * 300 + [4] * 20)
    stars = np.array([5.0] + [4.0] * 100 + [5.0] * 20 + [3.0] * 300 + [5.0] * 20)
    when = np.array([now] * 421 + [now - 3650 * DAY_SECONDS] * 20)
    ratings = Ratings.from_columns(np.zeros(441), movie, stars, when)
    totals = RatingTotals.from_ratings(ratings, np.zeros(1), np.arange(6), half_life_days=365)
    score = compute_popularity(totals.weight, totals.stars, damping=20)
    assert score[2] > score[1] > score[0]
    assert score[2] > score[4] + 0.2
    assert score[5] == pytest.approx(np.average(stars, weights=np.exp2(-(now - when) / DAY_SECONDS / 365)), abs=1e-5)


@pytest.mark.parametrize(
    ("for_stored_user", "in_model", "newer", "known", "unknown", "strategy", "note"),
    [
        # Ratings in the request describe the user.
        (False, False, False, 3, 0, "fold_in", None),
        (False, False, False, 1, 2, "fold_in", "2 of the rated movies are unknown to this version"),
        (False, False, False, 0, 2, "popular", "none of the rated movies is known"),
        (False, False, False, 0, 0, "popular", "the request has no user and no ratings"),
        # A user of the training rows.
        (True, True, False, 50, 0, "personalised", None),
        (True, True, True, 50, 0, "fold_in", "rated movies since this version was trained"),
        (True, True, True, 0, 0, "personalised", "stored ratings are not available"),
        # A user who came later, with and without usable ratings, and an unknown user.
        (True, False, False, 1, 3, "fold_in", "not among those this version was trained on"),
        (True, False, False, 0, 3, "popular", "knows none of the movies that the user has rated"),
        (True, False, False, 0, 0, "popular", "the user is unknown"),
    ],
)
def test_cold_start_rule(
    for_stored_user: bool, in_model: bool, newer: bool, known: int, unknown: int, strategy: str, note: str | None
) -> None:
    """The strategy and its note for every case."""
    plan = cold_start.choose_strategy(
        for_stored_user=for_stored_user, in_model=in_model, newer_ratings=newer, known=known, unknown=unknown
    )
    assert plan.strategy == strategy
    assert plan.note is None if note is None else note in (plan.note or "")


def test_top_is_a_stable_sort() -> None:
    """Equal scores come in the order of their positions; -inf never comes."""
    score = np.array([1.0, 3.0, -np.inf, 3.0, 2.0])
    assert select_top(score, 3).tolist() == [1, 3, 4]
    assert select_top(score, 10).tolist() == [1, 3, 4, 0]
    assert select_top(score, 0).tolist() == []
