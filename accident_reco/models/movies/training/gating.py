"""Compares a movie candidate with the champion for the shared gate: same holdout rows, paired over users."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from accident_reco.lifecycle.bundle import Bundle, Manifest
from accident_reco.lifecycle.gate import Comparison, GatePolicy, Interval, SliceGain, mean_statistic, paired_bootstrap
from accident_reco.models.movies.scoring.recommender import Recommender
from accident_reco.models.movies.training.candidates import Rows
from accident_reco.models.movies.training.metrics import measure

SLICE_USERS = 100
# Users by the number of their training ratings.
_SLICES = (("users with up to 30 ratings", 0, 30), ("users with 31 to 100 ratings", 31, 100),
           ("users with more than 100 ratings", 101, 2**31))  # fmt: skip


def policy(floor: float, minimum_gain: float, rmse_slack: float) -> GatePolicy:
    """Ranking decides, rating error limits: NDCG@10 must rise by `minimum_gain`, RMSE may rise by `rmse_slack`."""
    return GatePolicy(
        metric="ndcg_at_10",
        higher_is_better=True,
        floor=floor,
        minimum_gain=minimum_gain,
        limits={"rmse": rmse_slack},
        slice_rows=SLICE_USERS,
    )


def compare(candidate: Bundle, rows: Rows, champion: Manifest, files: Mapping[str, bytes]) -> Comparison:
    """Both versions on the present holdout.

    Raises ValueError when the champion held out another share: it may have trained on rows that would judge it.
    """
    ours = candidate.signature["options"]["holdout_share"]
    theirs = champion.signature.get("options", {}).get("holdout_share")
    if ours != theirs:
        raise ValueError(
            f"the holdout share is {ours} now and was {theirs} for the champion {champion.version}, which may have "
            f"trained on rows that judge now; set ACCIDENT_RECO_MOVIES_HOLDOUT_SHARE back to {theirs}"
        )
    mine = measure(Recommender.from_files(candidate.files), rows.train, rows.holdout)
    other = measure(Recommender.from_files(files), rows.train, rows.holdout)

    def gain(users: np.ndarray) -> Interval:
        return paired_bootstrap(
            mine.ranked_user[users],
            mean_statistic(mine.ndcg[users]),
            mean_statistic(other.ndcg[users]),
            higher_is_better=True,
        )

    count = len(mine.ndcg)
    if count == 0:
        return Comparison(0, 0, Interval(float("nan"), float("nan"), float("nan")))
    slices = []
    for name, low, high in _SLICES:
        users = (mine.history >= low) & (mine.history <= high)
        if users.sum() >= SLICE_USERS:
            slices.append(SliceGain(name, int(users.sum()), gain(users)))
    return Comparison(count, count, gain(np.ones(count, dtype=bool)), slices, other.metrics)
