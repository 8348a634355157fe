"""What a version is worth to whom: its order by length of history, beside the same popular movies for everyone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from accident_reco.lifecycle.evaluation import SliceValue, VersionEvaluation
from accident_reco.models.movies.candidates.selection import select_best
from accident_reco.models.movies.data.ratings import Ratings
from accident_reco.models.movies.scoring.recommender import Recommender
from accident_reco.models.movies.training.metrics import TOP, Evaluation, list_ranked_users, measure_lists

POPULARITY: Final = "popularity_"
"""Prefix of the metrics of the most rated movies, the same list for everyone except for what they have rated."""


@dataclass(frozen=True)
class Slice:
    """Users by their number of training ratings, `low` to `high`; `key` names their metrics."""

    key: str
    name: str
    low: int
    high: int

    def select(self, history: np.ndarray) -> np.ndarray:
        """Mask of the users, from their numbers of training ratings."""
        mask: np.ndarray = (history >= self.low) & (history <= self.high)
        return mask


SLICES: Final = (
    Slice("up_to_30", "users with up to 30 ratings", 0, 30),
    Slice("31_to_100", "users with 31 to 100 ratings", 31, 100),
    Slice("above_100", "users with more than 100 ratings", 101, 2**31),
)


def measure_audience(
    version: Recommender, evaluation: Evaluation, train: Ratings, holdout: Ratings, max_users: int
) -> dict[str, float]:
    """NDCG@10 of each slice (`ndcg_at_10_<key>`, `users_<key>`), and the metrics of popularity for the same users.

    Args:
        evaluation: of the version, on the same rows with the same bound of users.
    """
    users = list_ranked_users(train, holdout, max_users)
    count = version.rating_count.astype(np.float64)
    ranked = [version.movie_id[select_best(count, version.mask_unseen(one.history), TOP)[0]] for one in users]
    metrics, popular = measure_lists(version, users, ranked)
    found = {f"{POPULARITY}{name}": value for name, value in metrics.items()}
    for part in SLICES:
        mask = part.select(evaluation.history)
        found[f"users_{part.key}"] = float(mask.sum())
        if mask.any():
            found[f"ndcg_at_10_{part.key}"] = float(evaluation.ndcg[mask].mean())
            found[f"{POPULARITY}ndcg_at_10_{part.key}"] = float(popular[mask].mean())
    return found


def build_evaluation(metrics: Mapping[str, float]) -> VersionEvaluation:
    """The slices among a version's metrics, each beside popularity, as a bundle keeps them for pages."""
    name = "ndcg_at_10"
    return VersionEvaluation(
        metric=name,
        slices=[
            SliceValue(
                part.name,
                int(metrics[f"users_{part.key}"]),
                metrics[f"{name}_{part.key}"],
                more={"popularity": metrics[f"{POPULARITY}{name}_{part.key}"]},
            )
            for part in SLICES
            if f"{name}_{part.key}" in metrics
        ],
    )


def tabulate_audience(metrics: Mapping[str, float]) -> dict[str, list[Any]]:
    """One row for all users and one per slice: their number, and NDCG@10 of the version beside popularity, on the
    holdout and on the newest ratings; None where it was not measured.
    """
    ends = {"all": "", **{part.name: f"_{part.key}" for part in SLICES}}
    return {
        "users": list(ends),
        "number": [metrics.get(f"users{end}") for end in ends.values()],
        **{
            f"{prefix}{head}ndcg_at_10": [metrics.get(f"{prefix}{head}ndcg_at_10{end}") for end in ends.values()]
            for prefix in ("", "temporal_")
            for head in ("", POPULARITY)
        },
    }
