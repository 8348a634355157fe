"""The choice of the two heads: each by its own metric, with ties, kinds of one head only, and the full reason."""

import pytest

from accident_reco.models.movies.training.choice import Choice, ChoiceRule, choose

# Halves and quarters are exact in binary, so that equality means equality.
RULE = ChoiceRule(ndcg_tie=0.25)


def measured(rmse: float | None, ndcg: float | None) -> dict[str, float]:
    return {name: value for name, value in (("rmse", rmse), ("ndcg_at_10", ndcg)) if value is not None}


@pytest.mark.parametrize(
    ("candidates", "ranking", "stars", "reason"),
    [
        (
            {"a": (0.5, 0.25), "b": (0.75, 0.75)},
            "b",
            "a",
            (
                "ranking by b: NDCG@10 0.7500 is the best (others: a 0.2500); "
                "stars by a: RMSE 0.5000 is the best (others: b 0.7500)"
            ),
        ),
        (
            {"a": (0.5, 0.75)},
            "a",
            "a",
            "ranking by a: NDCG@10 0.7500 is the best; stars by a: RMSE 0.5000 is the best",
        ),
        (
            {"a": (0.5, 0.5), "b": (0.75, 0.75)},
            "b",
            "a",
            (
                "ranking by b: NDCG@10 0.7500 is the best (others: a 0.5000); "
                "stars by a: RMSE 0.5000 is the best (others: b 0.7500)"
            ),
        ),
        (
            {"a": (0.5, 0.5625), "b": (0.75, 0.75)},
            "a",
            "a",
            (
                "ranking by a: NDCG@10 0.5625 is the best (others: b 0.7500); "
                "stars by a: RMSE 0.5000 is the best (others: b 0.7500)"
            ),
        ),
        (
            {"b": (0.5, 0.5), "a": (0.5, 0.5)},
            "a",
            "a",
            (
                "ranking by a: NDCG@10 0.5000 is the best (others: b 0.5000); "
                "stars by a: RMSE 0.5000 is the best (others: b 0.5000)"
            ),
        ),
        (
            {"a": (0.5, 0.5), "b": (float("nan"), 1.0), "c": (0.25, float("nan")), "d": (None, 0.5), "e": (1.0, None)},
            "b",
            "c",
            (
                "ranking by b: NDCG@10 1.0000 is the best (others: a 0.5000, d 0.5000); "
                "stars by c: RMSE 0.2500 is the best (others: a 0.5000, e 1.0000)"
            ),
        ),
    ],
    ids=[
        "one each",
        "one for both",
        "behind by the tie itself",
        "behind by less: lower RMSE",
        "by name",
        "not measured",
    ],
)
def test_table_of_choices(candidates: dict, ranking: str, stars: str, reason: str) -> None:
    """The best of each metric; a difference of the tie itself counts; what lacks a metric has no such head."""
    choice = choose({name: measured(*values) for name, values in candidates.items()}, RULE)
    assert choice == Choice(ranking, stars, reason)


def test_kinds_with_one_head_are_not_chosen_for_the_other() -> None:
    """A kind that only ranks predicts no stars, however low its error, and the other way round."""
    candidates = {"a": measured(0.25, 0.75), "b": measured(0.5, 1.0), "c": measured(0.75, 0.25)}
    choice = choose(candidates, RULE, ranking={"a", "c"}, stars={"b", "c"})
    assert (choice.ranking, choice.stars, choice.kind) == ("a", "b", "a+b")
    assert choice.reason == (
        "ranking by a: NDCG@10 0.7500 is the best (others: c 0.2500); "
        "stars by b: RMSE 0.5000 is the best (others: c 0.7500)"
    )
    both = choose(candidates, RULE, ranking={"c"}, stars={"c"})
    assert (both.ranking, both.stars, both.kind) == ("c", "c", "c")


def test_a_tie_between_kinds_without_stars() -> None:
    """A ranking head without a measured RMSE loses a tie to one that has it."""
    candidates = {"a": measured(None, 1.0), "b": measured(2.0, 0.875)}
    assert choose(candidates, RULE).ranking == "b"


@pytest.mark.parametrize(("rmse", "ndcg"), [(None, 0.5), (0.5, None), (float("nan"), 0.5), (0.5, float("nan"))])
def test_without_both_metrics_there_is_no_choice(rmse: float | None, ndcg: float | None) -> None:
    """An empty holdout must not promote at random: the error states the fix."""
    words = r"^no candidate has an RMSE and an NDCG@10 on the holdout: is it empty\? load more ratings$"
    with pytest.raises(ValueError, match=words):
        choose({"a": measured(rmse, ndcg)}, RULE)


def test_the_default_tie() -> None:
    """Half a thousandth of NDCG@10."""
    assert ChoiceRule().ndcg_tie == 0.0005
