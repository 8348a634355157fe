"""The choice between the accident candidates."""

import pytest

from accident_reco.lifecycle.bundle import Bundle
from accident_reco.models.accidents.training.assembly import choose_candidate


def bundle(roc_auc: float, average_precision: float) -> Bundle:
    return Bundle("accidents", {}, {}, {"roc_auc": roc_auc, "average_precision": average_precision}, {})


@pytest.mark.parametrize(
    ("candidates", "chosen"),
    [
        ({"boosting": 0.75, "forest": 0.5}, "boosting"),
        ({"boosting": 0.5, "forest": 0.75}, "forest"),
        ({"boosting": 0.75, "forest": 0.75}, "boosting"),
        ({"forest": 0.75, "boosting": 0.75}, "forest"),
    ],
)
def test_the_highest_roc_auc_wins_and_the_first_of_equals(candidates: dict[str, float], chosen: str) -> None:
    """No other metric counts, and on a tie the order of the candidates decides; the reason has all values."""
    kind, reason = choose_candidate({name: bundle(value, 1 - value) for name, value in candidates.items()})
    assert kind == chosen
    measured = ", ".join(f"{name} {value:.4f}" for name, value in candidates.items())
    assert reason == f"{chosen} has the highest ROC AUC on validation rows ({measured})"
