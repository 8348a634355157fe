"""Chooses the two heads of a version by the candidates' holdout metrics: the one place of the rule. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import isfinite


@dataclass(frozen=True)
class ChoiceRule:
    """Each head by its own metric: the highest NDCG@10 ranks, the lowest RMSE predicts stars.

    Of ranking heads whose NDCG@10 differs by less than `ndcg_tie` the one with the lower RMSE is taken, so that one
    kind may do both; of equals the first by name.
    """

    ndcg_tie: float = 0.0005


@dataclass(frozen=True)
class Choice:
    """Kinds of the two heads, and the reason in words."""

    ranking: str
    stars: str
    reason: str

    @property
    def kind(self) -> str:
        """Both kinds in one word, the one kind where it does both."""
        return self.ranking if self.ranking == self.stars else f"{self.ranking}+{self.stars}"


def choose(
    candidates: Mapping[str, Mapping[str, float]],
    rule: ChoiceRule,
    *,
    ranking: Collection[str] | None = None,
    stars: Collection[str] | None = None,
) -> Choice:
    """Choose the heads by `ndcg_at_10` and `rmse` of each kind.

    Args:
        ranking, stars: kinds that may rank, that may predict stars; None: all.

    Raises:
        ValueError: no candidate has an NDCG@10, or none an RMSE.
    """

    def read(metric: str, kinds: Collection[str] | None) -> dict[str, float]:
        values = {
            name: float(metrics.get(metric, float("nan")))
            for name, metrics in candidates.items()
            if kinds is None or name in kinds
        }
        return {name: value for name, value in values.items() if isfinite(value)}

    ndcg, rmse, every_rmse = read("ndcg_at_10", ranking), read("rmse", stars), read("rmse", None)
    if not ndcg or not rmse:
        raise ValueError("no candidate has an RMSE and an NDCG@10 on the holdout: is it empty? load more ratings")
    top = max(ndcg.values())
    tied = [name for name in ndcg if ndcg[name] > top - rule.ndcg_tie]
    ranks = min(tied, key=lambda name: (every_rmse.get(name, float("inf")), name))
    predicts = min(rmse, key=lambda name: (rmse[name], name))
    return Choice(
        ranks, predicts, f"{_explain('ranking', 'NDCG@10', ranks, ndcg)}; {_explain('stars', 'RMSE', predicts, rmse)}"
    )


def _explain(head: str, metric: str, chosen: str, values: Mapping[str, float]) -> str:
    others = [f"{name} {value:.4f}" for name, value in values.items() if name != chosen]
    beside = f" (others: {', '.join(others)})" if others else ""
    return f"{head} by {chosen}: {metric} {values[chosen]:.4f} is the best{beside}"
