"""The evidence on a running rollout: comparisons of recent minutes, and paired losses on labels."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accident_reco.contract import Model, Platform
from accident_reco.lifecycle.rollout.decision import Calls, Evidence, Labels, RolloutPolicy, paired_labels
from accident_reco.lifecycle.rollout.state import Rollout
from accident_reco.storage.rollout_calls import Columns, count_calls, labelled_calls, recent_calls

RECENT: Final = timedelta(minutes=15)
"""Comparisons within this time count for the service objectives."""


def gather(platform: Platform, model: Model, rollout: Rollout, policy: RolloutPolicy, now: datetime) -> Evidence:
    """Read what is known of a rollout from the warehouse and, for labels of the model's own, from its data."""
    warehouse, name, challenger = platform.warehouse, rollout.model, rollout.challenger
    step_since = datetime.fromisoformat(rollout.step_since)
    recent = recent_calls(warehouse, name, challenger, max(step_since, now - RECENT))
    return Evidence(
        summarize_calls(recent, policy),
        count_calls(warehouse, name, challenger, step_since),
        _labels(platform, model, rollout, policy),
    )


def summarize_calls(columns: Columns, policy: RolloutPolicy) -> Calls:
    """Service objectives of comparisons, as `recent_calls` returns them."""
    problem = columns["problem"]
    if not len(problem):
        return Calls()
    timed = np.isfinite(columns["champion_ms"]) & np.isfinite(columns["challenger_ms"])
    champion_ms, challenger_ms = columns["champion_ms"][timed], columns["challenger_ms"][timed]
    champion_p99 = _p99(champion_ms)
    permitted = policy.permitted_p99(champion_p99)
    fine = problem == None  # noqa: E711 - elementwise
    champion, challenger = columns["champion_score"][fine], columns["challenger_score"][fine]
    both = np.isfinite(champion) & np.isfinite(challenger)
    return Calls(
        compared=len(problem),
        errors=int((problem == "failed").sum()),
        champion_errors=int((problem == "champion_failed").sum()),
        not_finite=int((problem == "not_finite").sum()),
        timed=int(timed.sum()),
        p99_ms=_p99(challenger_ms),
        champion_p99_ms=champion_p99,
        slow=int((challenger_ms > permitted).sum()),
        champion_slow=int((champion_ms > permitted).sum()),
        is_constant=bool(both.sum() > 1 and np.ptp(challenger[both]) == 0.0 < np.ptp(champion[both])),
        correlation=_rank_correlation(champion[both], challenger[both]),
        distance=_mean(np.abs(champion - challenger)[both]),
        agreement=_mean(columns["agreement"][fine]),
    )


def _labels(platform: Platform, model: Model, rollout: Rollout, policy: RolloutPolicy) -> Labels:
    own = model.serving().paired_predictions(
        platform,
        [platform.models.manifest(rollout.model, version) for version in (rollout.champion, rollout.challenger)],
        datetime.fromisoformat(rollout.since),
    )
    if own is not None:
        champion, challenger = own
        return paired_labels(
            loss(champion.score, champion.truth), loss(challenger.score, challenger.truth), champion.groups, policy
        )
    rows = labelled_calls(platform.warehouse, rollout.model, rollout.challenger, 10 * policy.max_labels)
    return paired_labels(
        loss(rows["champion_score"], rows["outcome"]),
        loss(rows["challenger_score"], rows["outcome"]),
        rows["group"].astype(str),
        policy,
    )


def loss(score: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
    """Loss of each prediction, shape (n,): the Brier score of a probability, the squared error of a value."""
    squared: NDArray[np.float64] = (np.asarray(score, dtype=float) - np.asarray(truth, dtype=float)) ** 2
    return squared


def _rank_correlation(one: NDArray[Any], other: NDArray[Any]) -> float | None:
    if len(one) < 2 or np.ptp(one) == 0.0 or np.ptp(other) == 0.0:
        return None
    ranks = []
    for values in (one, other):
        _, place, count = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(count) - (count - 1) / 2)[place])  # equal values have their mean rank
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _p99(milliseconds: NDArray[Any]) -> float:
    return float(np.quantile(milliseconds, 0.99)) if len(milliseconds) else 0.0


def _mean(values: NDArray[Any]) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None
