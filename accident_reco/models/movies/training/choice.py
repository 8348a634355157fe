"""Chooses among the trained candidates: the one place of the rule. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ChoiceRule:
    """Both kinds of worth count.

    A candidate is admitted when its RMSE is at most `rmse_tolerance` (a share) above the best candidate's; of those
    admitted the highest NDCG@10 wins, and the lower RMSE where NDCG@10 differs by less than `ndcg_tie`.
    """

    rmse_tolerance: float = 0.05
    ndcg_tie: float = 0.0005


@dataclass(frozen=True)
class Choice:
    """The winner, the reason in words, and what each candidate was worth."""

    winner: str
    reason: str
    admitted: dict[str, bool]


def choose(candidates: Mapping[str, Mapping[str, float]], rule: ChoiceRule) -> Choice:
    """Pick by holdout metrics (`rmse`, `ndcg_at_10` of each name). Raises ValueError when none has both."""
    usable = {
        name: (float(m["rmse"]), float(m["ndcg_at_10"]))
        for name, m in candidates.items()
        if m.get("rmse", float("nan")) == m.get("rmse") and m.get("ndcg_at_10", float("nan")) == m.get("ndcg_at_10")
    }
    if not usable:
        raise ValueError("no candidate has an RMSE and an NDCG@10 on the holdout: is it empty? load more ratings")
    best_name, (best_rmse, _) = min(usable.items(), key=lambda item: (item[1][0], item[0]))
    bound = best_rmse * (1 + rule.rmse_tolerance)
    admitted = {name: usable[name][0] <= bound if name in usable else False for name in candidates}
    inside = {name: values for name, values in usable.items() if admitted[name]}
    top = max(ndcg for _, ndcg in inside.values())
    tied = {name: values for name, values in inside.items() if values[1] > top - rule.ndcg_tie}
    winner = min(tied, key=lambda name: (tied[name][0], name))
    rmse, ndcg = usable[winner]
    out = [name for name, inside_bound in admitted.items() if not inside_bound]
    reason = (
        f"{winner}: NDCG@10 {ndcg:.4f} is the best of those within {rule.rmse_tolerance:.0%} of the lowest RMSE "
        f"({best_name} {best_rmse:.4f}); its RMSE is {rmse:.4f}"
    )
    if out:
        shown = (f"{name} {candidates[name].get('rmse', float('nan')):.4f}" for name in out)
        reason += f"; not admitted by RMSE: {', '.join(shown)}"
    return Choice(winner, reason, admitted)
