"""The rules that answers are made of, without a version: who is answered how, what is popular, what a title is."""

from __future__ import annotations

import numpy as np
import pytest

from accident_reco.models.movies.data.titles import Titles
from accident_reco.models.movies.scoring import cold_start, rerank
from accident_reco.models.movies.scoring.popularity import DAY_SECONDS, damped_popularity


def test_search_in_titles() -> None:
    """Every word, in any case and order, inside words too, with or without accents; nothing for no words."""
    titles = Titles(["Toy Story (1995)", "Story of Toys, The", "Heat (1995)", "STORY"])
    assert titles.containing("story toy") == [0, 1]
    assert titles.containing("1995") == [0, 2]
    assert titles.containing("  ") == []
    assert titles.containing("storyz") == []
    accented = Titles(["Misérables, Les (1995)", "Amelie (Fabuleux destin d'Amélie Poulain, Le) (2001)"])
    assert accented.containing("les miserables") == accented.containing("MISÉRABLES") == [0]
    assert accented.containing("amélie poulain") == [1]


def test_popularity_fades_and_is_damped() -> None:
    """One five-star rating does not top a hundred fours; a good name of ten years ago counts less than a new one."""
    now = 2_000_000_000
    movie = np.array([0] + [1] * 100 + [2] * 20 + [3] * 300 + [4] * 20)
    stars = np.array([5.0] + [4.0] * 100 + [5.0] * 20 + [3.0] * 300 + [5.0] * 20)
    when = np.array([now] * 421 + [now - 3650 * DAY_SECONDS] * 20)
    score = damped_popularity(movie, stars, when, 6, damping=20, half_life_days=365)
    assert score[2] > score[1] > score[0]
    assert score[2] > score[4] + 0.2
    assert score[5] == pytest.approx(np.average(stars, weights=np.exp2(-(now - when) / DAY_SECONDS / 365)), abs=1e-5)


@pytest.mark.parametrize(
    ("asked_for_user", "in_model", "newer", "known", "unknown", "way", "note"),
    [
        # Ratings in the request describe the person.
        (False, False, False, 3, 0, "fold_in", None),
        (False, False, False, 1, 2, "fold_in", "2 of the rated movies are unknown to this version"),
        (False, False, False, 0, 2, "popular", "none of the rated movies is known"),
        (False, False, False, 0, 0, "popular", "no user and no ratings given"),
        # A user of the training rows.
        (True, True, False, 50, 0, "personalised", None),
        (True, True, True, 50, 0, "fold_in", "rated movies since this version was trained"),
        (True, True, True, 0, 0, "personalised", "stored ratings are not at hand"),
        # A user who came later, with and without usable ratings, and nobody.
        (True, False, False, 1, 3, "fold_in", "not among those this version was trained on"),
        (True, False, False, 0, 3, "popular", "knows none of the movies that the user has rated"),
        (True, False, False, 0, 0, "popular", "the user is unknown"),
    ],
)
def test_cold_start_rule(
    asked_for_user: bool, in_model: bool, newer: bool, known: int, unknown: int, way: str, note: str | None
) -> None:
    """The one place that decides how somebody is answered, and what is said of it."""
    plan = cold_start.plan(
        asked_for_user=asked_for_user, in_model=in_model, newer_ratings=newer, known=known, unknown=unknown
    )
    assert plan.way == way
    assert plan.note is None if note is None else note in (plan.note or "")


def test_top_is_a_stable_sort() -> None:
    """Equal scores come in the order of their positions; -inf never comes."""
    score = np.array([1.0, 3.0, -np.inf, 3.0, 2.0])
    assert rerank.top(score, 3).tolist() == [1, 3, 4]
    assert rerank.top(score, 10).tolist() == [1, 3, 4, 0]
    assert rerank.top(score, 0).tolist() == []
