"""Simulates plausible new ratings from the preferences that a version has learned. Numpy only; stores nothing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from accident_reco.lifecycle.holdout import pairs_in_holdout
from accident_reco.models.movies.candidates.scorer import UserState
from accident_reco.models.movies.data.history import EMPTY_HISTORY, History
from accident_reco.models.movies.scoring.recommender import Recommender, UserStates

RATINGS_PER_USER = 20
NEW_USERS = 0.3
"""Share of new users."""
FIRST_NEW_USER = 1_000_000_000
"""Simulated users have ids that no MovieLens set reaches, so that a real user never gets their ratings."""
MAX_NEW_USERS = 1_000
MAX_MOVIES = 5_000
NOISE = 0.6
KEPT = 0.7
"""Share of a stored user's ratings that a new user like them starts from."""
LAST_DAYS = 7 * 86_400


def count_users(count: int) -> tuple[int, int]:
    """Numbers of stored and of new users that simulate `count` ratings."""
    users = -(-count // RATINGS_PER_USER)
    new = round(users * NEW_USERS)
    return users - new, new


def simulate(
    version: Recommender,
    histories: Mapping[int, History],
    count: int,
    *,
    seed: int,
    shift: float,
    now: int,
    holdout_share: float,
) -> dict[str, np.ndarray]:
    """Simulate up to `count` ratings of stored users and of new users, whose preferences vary those of stored ones.

    Args:
        histories: stored users who rate, with their ratings (these pairs are never rated again).
        shift: 0 is like the training data; towards 1 ratings fall and turn to movies with few ratings.
        now: seconds UTC; the ratings fall into the week before.
        holdout_share: pairs of the holdout are never simulated.

    Returns:
        Columns `user_id`, `movie_id`, `rating`, `rated_at`; each (user, movie) once. Fewer than `count` where the users
        have too few movies left.
    """
    random = np.random.default_rng([seed, 77])
    _, new = count_users(count)
    first = FIRST_NEW_USER + (seed % 1_000_000) * MAX_NEW_USERS
    users = [*sorted(histories), *range(first, first + min(new, MAX_NEW_USERS))]
    rated = np.argsort(-version.rating_count, kind="stable")[:MAX_MOVIES]
    rated = rated[version.rating_count[rated] > 0]
    parts: list[tuple[np.ndarray, ...]] = []
    left = count
    for place, user in enumerate(users):
        states = _build_states(version, user, histories, random)
        weight = _weigh_movies(version, states.ranking, rated, shift, random)
        ids = version.movie_id[rated]
        excluded = np.isin(ids, histories.get(user, EMPTY_HISTORY).movie_id)
        excluded |= pairs_in_holdout(np.full(len(ids), user), ids, holdout_share)
        movie = np.sort(rated[_draw(weight, excluded, -(-left // (len(users) - place)))])
        stars = version.stars.predict_ratings(states.stars, movie) - 1.5 * shift + random.normal(0, NOISE, len(movie))
        steps = np.round((np.clip(stars, version.low, version.high) - version.low) / version.step)
        when = now - random.integers(0, LAST_DAYS, len(movie))
        parts.append((np.full(len(movie), user), version.movie_id[movie], version.low + steps * version.step, when))
        left -= len(movie)
    kinds = {"user_id": np.int64, "movie_id": np.int64, "rating": np.float32, "rated_at": np.int64}
    empty = [np.zeros(0)] * len(kinds)
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)] if parts else empty
    return {name: column.astype(kind) for (name, kind), column in zip(kinds.items(), columns, strict=True)}


def _build_states(
    version: Recommender, user: int, histories: Mapping[int, History], random: np.random.Generator
) -> UserStates:
    history = histories.get(user)
    known = version.build_state(user, history) if history is not None else None
    if known is not None:
        return known
    # A new user varies the ratings of a stored one.
    if histories:
        template = histories[sorted(histories)[int(random.integers(0, len(histories)))]]
        varied = version.build_state(None, _vary(version, template, random))
        if varied is not None:
            return varied
    states = version.build_state(int(random.choice(version.user_id)), EMPTY_HISTORY)
    assert states is not None  # users of the training rows have a state
    return states


def _vary(version: Recommender, history: History, random: np.random.Generator) -> History:
    """Some of the ratings, each moved a little."""
    kept = np.flatnonzero(random.random(len(history)) < KEPT)
    rating = history.rating[kept] + random.normal(0, NOISE, len(kept))
    stars = np.clip(rating, version.low, version.high).astype(np.float32)
    return History(history.movie_id[kept], stars, history.rated_at[kept])


def _weigh_movies(
    version: Recommender, state: UserState, rated: np.ndarray, shift: float, random: np.random.Generator
) -> np.ndarray:
    """Random weights of movies: high for liked and for well-known ones, with Gumbel noise for a top-k draw."""
    score = version.ranking.score_all(state)[rated]
    preference = (score - score.mean()) / max(float(score.std()), 1e-9)
    known = np.log1p(version.rating_count[rated])
    weight: np.ndarray = 1.5 * preference + (1 - 2 * shift) * known + random.gumbel(size=len(rated))
    return weight


def _draw(weight: np.ndarray, excluded: np.ndarray, count: int) -> np.ndarray:
    """Indices of the `count` highest weights that are not excluded."""
    count = min(count, int((~excluded).sum()))
    if count <= 0:
        return np.zeros(0, dtype=np.int64)
    return np.argpartition(-np.where(excluded, -np.inf, weight), count - 1)[:count]
