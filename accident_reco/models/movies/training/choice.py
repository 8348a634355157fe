"""Chooses among the trained candidates by their holdout metrics: the one place of the rule. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ChoiceRule:
    """Rating error admits, ranking decides.

    A candidate is admitted when its RMSE is at most `rmse_tolerance` (a share) above the best candidate's; of those
    admitted the highest NDCG@10 wins, and the lower RMSE where NDCG@10 differs by less than `ndcg_tie`.
    """

    rmse_tolerance: float = 0.05
    ndcg_tie: float = 0.0005


@dataclass(frozen=True)
class Choice:
    """The chosen kind and the reason in words."""

    kind: str
    reason: str


def choose(candidates: Mapping[str, Mapping[str, float]], rule: ChoiceRule) -> Choice:
    """Choose by `rmse` and `ndcg_at_10` of each kind. Raises ValueError when no candidate has both."""
    usable = {
        name: (float(m["rmse"]), float(m["ndcg_at_10"]))
        for name, m in candidates.items()
        if m.get("rmse", float("nan")) == m.get("rmse") and m.get("ndcg_at_10", float("nan")) == m.get("ndcg_at_10")
    }
    if not usable:
        raise ValueError("no candidate has an RMSE and an NDCG@10 on the holdout: is it empty? load more ratings")
    best_name, (best_rmse, _) = min(usable.items(), key=lambda item: (item[1][0], item[0]))
    bound = best_rmse * (1 + rule.rmse_tolerance)
    admitted = {name: values for name, values in usable.items() if values[0] <= bound}
    top = max(ndcg for _, ndcg in admitted.values())
    tied = {name: values for name, values in admitted.items() if values[1] > top - rule.ndcg_tie}
    best = min(tied, key=lambda name: (tied[name][0], name))
    rmse, ndcg = usable[best]
    reason = (
        f"{best}: NDCG@10 {ndcg:.4f} is the best of those within {rule.rmse_tolerance:.0%} of the lowest RMSE "
        f"({best_name} {best_rmse:.4f}); its RMSE is {rmse:.4f}"
    )
    excluded = [f"{name} {m.get('rmse', float('nan')):.4f}" for name, m in candidates.items() if name not in admitted]
    if excluded:
        reason += f"; not admitted by RMSE: {', '.join(excluded)}"
    return Choice(best, reason)
