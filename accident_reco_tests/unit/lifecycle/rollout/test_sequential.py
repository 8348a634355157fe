"""Always-valid bounds: they hold at every look, and simulated rollouts end as promised."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from accident_reco.lifecycle.rollout.decision import RolloutPolicy, paired_labels
from accident_reco.lifecycle.rollout.sequential import MIN_GROUPS, bounds, group_means, half_width

POLICY = RolloutPolicy()
ROLLOUTS, LABELS = 1000, 8_000


class Simulation:
    """Rollouts side by side: Brier losses of two versions on the same outcomes, a row per rollout, a column per label.

    Probabilities are as skewed as those of injuries; each version sees them through noise of its own, so that their
    losses are correlated. Looked at after every label.
    """

    def __init__(self, seed: int, worse: float, rollouts: int = ROLLOUTS, labels: int = LABELS) -> None:
        random = np.random.default_rng(seed)
        shape = (rollouts, labels)
        truth = random.beta(0.6, 2.4, shape).astype(np.float32).clip(1e-4, 1 - 1e-4)
        outcome = (random.random(shape, dtype=np.float32) < truth).astype(np.float32)
        logit = np.log(truth / (1 - truth))
        self.champion = self._loss(random, logit, outcome)
        # Additional loss, so that the stated effect is exact in expectation.
        self.challenger = self._loss(random, logit, outcome) + worse * self.champion.mean(dtype=np.float64)

    @staticmethod
    def _loss(
        random: np.random.Generator, logit: NDArray[np.float32], outcome: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        seen = logit + 0.5 * random.standard_normal(logit.shape, dtype=np.float32)
        loss: NDArray[np.float32] = (1 / (1 + np.exp(-seen)) - outcome) ** 2
        return loss

    def first_look(self, values: NDArray[np.float32], alpha: float, sign: int) -> NDArray[np.int64]:
        """Labels at the first look whose bound (sign 1: lower, -1: upper) is on the far side of zero; -1: at none."""
        n = np.arange(1, values.shape[1] + 1)
        mean = values.cumsum(axis=1, dtype=np.float64) / n
        variance = ((values**2).cumsum(axis=1, dtype=np.float64) / n - mean**2) * n / np.maximum(n - 1, 1)
        far = sign * mean - np.sqrt(variance) * half_width(n, alpha) > 0
        far[:, : MIN_GROUPS - 1] = False
        first: NDArray[np.int64] = np.where(far.any(axis=1), far.argmax(axis=1) + 1, -1)
        return first

    def rolled_back(self) -> NDArray[np.int64]:
        return self.first_look(self.challenger - self.champion, POLICY.alpha_worse, 1)

    def promotable(self) -> NDArray[np.int64]:
        excess = self.challenger - np.float32(1 + POLICY.margin) * self.champion
        return self.first_look(excess, POLICY.alpha_promote, -1)


@pytest.mark.slow
def test_an_equal_challenger_is_rarely_rolled_back_and_is_promoted() -> None:
    equal = Simulation(1, worse=0.0)
    back, promotable = equal.rolled_back(), equal.promotable()
    assert (back >= 0).mean() <= 0.05
    # Most are promoted, and half of them within 4,000 labels.
    assert (promotable >= 0).mean() >= 0.95
    assert np.median(promotable[promotable >= 0]) <= 4_000


@pytest.mark.slow
def test_a_worse_challenger_is_hardly_ever_promoted_and_soon_rolled_back() -> None:
    worse = Simulation(2, worse=POLICY.margin)
    back, promotable = worse.rolled_back(), worse.promotable()
    promoted = (promotable >= 0) & ((back < 0) | (promotable < back))
    assert promoted.mean() <= 0.01
    assert (back >= 0).mean() >= 0.95
    assert np.quantile(np.where(back < 0, LABELS, back), 0.95) <= 5_000
    much = Simulation(3, worse=4 * POLICY.margin, labels=1_000)
    assert np.quantile(np.where(much.rolled_back() < 0, LABELS, much.rolled_back()), 0.95) <= 400


def test_the_simulated_bounds_are_those_of_the_decision() -> None:
    simulated = Simulation(4, worse=0.1, rollouts=1, labels=800)
    champion, challenger = simulated.champion[0].astype(float), simulated.challenger[0].astype(float)
    labels = paired_labels(champion, challenger, np.arange(800), POLICY)
    values = challenger - champion
    assert labels.difference.low == pytest.approx(values.mean() - values.std(ddof=1) * half_width(800, 0.05))
    assert labels.excess.high == pytest.approx(
        (challenger - 1.05 * champion).mean() + (challenger - 1.05 * champion).std(ddof=1) * half_width(800, 0.01)
    )


def test_no_bound_with_few_observations() -> None:
    few = bounds(np.ones(MIN_GROUPS - 1), 0.05, 0.01)
    assert (few.mean, few.low, few.high) == (1.0, -np.inf, np.inf)
    enough = bounds(np.ones(MIN_GROUPS), 0.05, 0.01)
    assert (enough.low, enough.high) == (1.0, 1.0)
    assert bounds(np.empty(0), 0.05, 0.01).mean == 0.0


def test_bounds_tighten_with_observations_and_widen_with_confidence() -> None:
    widths = half_width([100, 1_000, 10_000], 0.05)
    assert list(widths) == sorted(widths, reverse=True)
    assert half_width(1_000, 0.01) > half_width(1_000, 0.05)
    # Ten times an ordinary 95 % bound's width would not be useful; 1.7 times it is.
    assert 1.0 < half_width(1_000, 0.05) * np.sqrt(1_000) / 1.645 < 1.75


def test_rows_of_one_group_are_one_observation() -> None:
    assert group_means(np.array([1.0, 3.0, 5.0]), ["a", "a", "b"]).tolist() == [2.0, 5.0]
    once = paired_labels(np.zeros(200), np.arange(200.0), np.repeat(np.arange(100), 2), POLICY)
    assert once.difference.groups == 100
