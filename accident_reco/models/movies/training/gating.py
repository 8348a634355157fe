"""Compares a movie candidate with the champion for the shared gate: same holdout rows, paired over users."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from accident_reco.lifecycle.bundle import Bundle, Manifest
from accident_reco.lifecycle.gate import (
    Comparison,
    GatePolicy,
    Interval,
    SliceGain,
    mean_statistic,
    paired_bootstrap,
    rmse_statistic,
)
from accident_reco.models.movies.scoring.recommender import Recommender
from accident_reco.models.movies.training.audience import SLICES
from accident_reco.models.movies.training.candidate_training import TrainingRows
from accident_reco.models.movies.training.metrics import evaluate

MIN_SLICE_USERS = 100


def build_policy(floor: float, minimum_gain: float, rmse_slack: float) -> GatePolicy:
    """Policy of the gate: NDCG@10 must rise by `minimum_gain`, RMSE may rise by at most `rmse_slack`."""
    return GatePolicy(
        metric="ndcg_at_10",
        higher_is_better=True,
        floor=floor,
        minimum_gain=minimum_gain,
        limits={"rmse": rmse_slack},
        slice_rows=MIN_SLICE_USERS,
    )


def compare(candidate: Bundle, rows: TrainingRows, champion: Manifest, files: Mapping[str, bytes]) -> Comparison:
    """Compare both versions on the current holdout, paired over users: the order by NDCG@10, the stars by RMSE.

    NDCG@10 decides; the gain in RMSE is reported, and limited by the policy.

    Raises ValueError when the champion held out another share: it may have trained on rows of the holdout.
    """
    share = candidate.signature["options"]["holdout_share"]
    champion_share = champion.signature.get("options", {}).get("holdout_share")
    if share != champion_share:
        raise ValueError(
            f"the holdout share is {share} now and was {champion_share} for the champion {champion.version}, which may "
            f"have trained on rows of the holdout; set ACCIDENT_RECO_MOVIES_HOLDOUT_SHARE back to {champion_share}"
        )
    new = evaluate(Recommender.from_files(candidate.files), rows.train, rows.holdout)
    old = evaluate(Recommender.from_files(files), rows.train, rows.holdout)

    def gain(users: np.ndarray) -> Interval:
        return paired_bootstrap(
            new.ranked_user[users],
            mean_statistic(new.ndcg[users]),
            mean_statistic(old.ndcg[users]),
            higher_is_better=True,
        )

    count = len(new.ndcg)
    if count == 0:
        return Comparison(0, 0, Interval(float("nan"), float("nan"), float("nan")))
    slices = []
    for part in SLICES:
        users = part.select(new.history)
        if users.sum() >= MIN_SLICE_USERS:
            slices.append(SliceGain(part.name, int(users.sum()), gain(users)))
    stars = paired_bootstrap(
        rows.holdout.user_id, rmse_statistic(new.error), rmse_statistic(old.error), higher_is_better=False
    )
    return Comparison(count, count, gain(np.ones(count, dtype=bool)), slices, old.metrics, {"rmse": stars})
