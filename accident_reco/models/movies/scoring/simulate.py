"""Makes up believable new ratings from a version's own picture of tastes. Numpy only; marks nothing, writes nothing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from accident_reco.lifecycle.holdout import pairs_in_holdout
from accident_reco.models.movies.data.history import NOTHING, History
from accident_reco.models.movies.scoring.recommender import Recommender
from accident_reco.models.movies.scoring.scorers import Taste

RATINGS_PER_PERSON = 20
NEW_PEOPLE = 0.3
FIRST_NEW_USER = 1_000_000_000
"""Made-up users have ids that no MovieLens set reaches, so that a real user never meets their ratings."""
MAX_MOVIES = 5_000
NOISE = 0.6
LAST_DAYS = 7 * 86_400


def people_needed(count: int) -> tuple[int, int]:
    """How many stored and how many new users make up `count` ratings."""
    people = -(-count // RATINGS_PER_PERSON)
    new = round(people * NEW_PEOPLE)
    return people - new, new


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
    """Up to `count` ratings: stored users by their taste, new ones by somebody's taste with a turn of their own.

    Args:
        histories: stored users who rate, with what they have rated (they never rate that again).
        shift: 0 is like the training data; towards 1 people become sterner and turn to movies that few have rated.
        now: seconds UTC; the ratings fall into the week before.
        holdout_share: pairs that judge are never made up.

    Returns:
        Columns `user_id`, `movie_id`, `rating`, `rated_at`; each (user, movie) once. Fewer than `count` where the users
        have too few movies left.
    """
    random = np.random.default_rng([seed, 77])
    _, new = people_needed(count)
    people = [
        *sorted(histories),
        *(FIRST_NEW_USER + (seed % 1_000_000) * 1_000 + nth for nth in range(min(new, 1_000))),
    ]
    rated = np.argsort(-version.rating_count, kind="stable")[:MAX_MOVIES]
    rated = rated[version.rating_count[rated] > 0]
    parts: list[tuple[np.ndarray, ...]] = []
    left = count
    for place, user in enumerate(people):
        share = -(-left // (len(people) - place))
        taste = _taste(version, user, histories, random)
        movie = _choose(version, user, histories.get(user, NOTHING), taste, rated, share, shift, holdout_share, random)
        stars = version.head.rating(taste, movie) - 1.5 * shift + random.normal(0, NOISE, len(movie))
        steps = np.round((np.clip(stars, version.low, version.high) - version.low) / version.step)
        when = now - random.integers(0, LAST_DAYS, len(movie))
        parts.append((np.full(len(movie), user), version.movie_id[movie], version.low + steps * version.step, when))
        left -= len(movie)
    kinds = {"user_id": np.int64, "movie_id": np.int64, "rating": np.float32, "rated_at": np.int64}
    empty = [np.zeros(0)] * len(kinds)
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)] if parts else empty
    return {name: column.astype(kind) for (name, kind), column in zip(kinds.items(), columns, strict=True)}


def _taste(version: Recommender, user: int, histories: Mapping[int, History], random: np.random.Generator) -> Taste:
    history = histories.get(user)
    known = version.taste(user, history) if history is not None else None
    if known is not None:
        return known
    # A new person takes after a user of the training data.
    model_user = int(random.integers(0, len(version.user_id)))
    nobody = np.zeros(0, dtype=np.int64)
    taste = version.head.stored(model_user, nobody, np.zeros(0, dtype=np.float32))
    vector = taste.vector
    if vector is not None:
        vector = (vector + random.normal(0, 0.3 * float(vector.std()) + 1e-6, len(vector))).astype(np.float32)
    return Taste(taste.bias + float(random.normal(0, 0.1)), vector, taste.movie, taste.rating)


def _choose(
    version: Recommender,
    user: int,
    history: History,
    taste: Taste,
    rated: np.ndarray,
    share: int,
    shift: float,
    holdout_share: float,
    random: np.random.Generator,
) -> np.ndarray:
    """Positions of movies that this person rates next: liked and well-known ones, drawn by Gumbel top-k."""
    score = version.head.ranking(taste)[rated]
    liking = (score - score.mean()) / max(float(score.std()), 1e-9)
    known = np.log1p(version.rating_count[rated])
    weight = 1.5 * liking + (1 - 2 * shift) * known + random.gumbel(size=len(rated))
    ids = version.movie_id[rated]
    barred = np.isin(ids, history.movie_id) | pairs_in_holdout(np.full(len(ids), user), ids, holdout_share)
    weight[barred] = -np.inf
    share = min(share, int((~barred).sum()))
    if share <= 0:
        return rated[:0]
    return np.sort(rated[np.argpartition(-weight, share - 1)[:share]])
