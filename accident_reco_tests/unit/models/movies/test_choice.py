"""The choice among movie candidates: admission by RMSE, then NDCG@10, with the edges of both and the full reason."""

import pytest

from accident_reco.models.movies.training.choice import ChoiceRule, choose

# Halves and quarters are exact in binary, so that equality means equality.
RULE = ChoiceRule(rmse_tolerance=0.5, ndcg_tie=0.25)
BEST = "is the best of those within 50% of the lowest RMSE"
OUT = "not admitted by RMSE"


def measured(rmse: float | None, ndcg: float | None) -> dict[str, float]:
    return {name: value for name, value in (("rmse", rmse), ("ndcg_at_10", ndcg)) if value is not None}


@pytest.mark.parametrize(
    ("candidates", "winner", "reason"),
    [
        ({"a": (0.5, 0.25), "b": (0.75, 0.75)}, "b", f"b: NDCG@10 0.7500 {BEST} (a 0.5000); its RMSE is 0.7500"),
        (
            {"a": (0.5, 0.25), "b": (0.8125, 0.75)},
            "a",
            f"a: NDCG@10 0.2500 {BEST} (a 0.5000); its RMSE is 0.5000; {OUT}: b 0.8125",
        ),
        ({"a": (0.5, 0.5), "b": (0.75, 0.75)}, "b", f"b: NDCG@10 0.7500 {BEST} (a 0.5000); its RMSE is 0.7500"),
        ({"b": (0.5, 0.5625), "a": (0.75, 0.75)}, "b", f"b: NDCG@10 0.5625 {BEST} (b 0.5000); its RMSE is 0.5000"),
        ({"a": (0.75, 0.5625), "b": (0.5, 0.75)}, "b", f"b: NDCG@10 0.7500 {BEST} (b 0.5000); its RMSE is 0.5000"),
        ({"b": (0.5, 0.5), "a": (0.5, 0.5)}, "a", f"a: NDCG@10 0.5000 {BEST} (a 0.5000); its RMSE is 0.5000"),
        (
            {
                "a": (0.5, 0.5),
                "b": (float("nan"), 0.75),
                "c": (0.5, float("nan")),
                "d": (None, 0.75),
                "e": (0.25, None),
            },
            "a",
            f"a: NDCG@10 0.5000 {BEST} (a 0.5000); its RMSE is 0.5000; {OUT}: b nan, c 0.5000, d nan, e 0.2500",
        ),
    ],
    ids=[
        "at the bound",
        "above the bound",
        "behind by the tie itself",
        "behind by less: lower RMSE",
        "better in both",
        "by name",
        "not measured",
    ],
)
def test_table_of_choices(candidates: dict, winner: str, reason: str) -> None:
    """The bound itself admits, a difference of the tie itself counts, and what lacks a metric takes no part."""
    choice = choose({name: measured(*values) for name, values in candidates.items()}, RULE)
    assert (choice.kind, choice.reason) == (winner, reason)


@pytest.mark.parametrize(("rmse", "ndcg"), [(None, 0.5), (0.5, None), (float("nan"), 0.5), (0.5, float("nan"))])
def test_without_both_metrics_there_is_no_choice(rmse: float | None, ndcg: float | None) -> None:
    """An empty holdout must not promote at random: the error states the fix."""
    words = r"^no candidate has an RMSE and an NDCG@10 on the holdout: is it empty\? load more ratings$"
    with pytest.raises(ValueError, match=words):
        choose({"a": measured(rmse, ndcg)}, RULE)
