"""Processor time of comparisons: a burst at first, then a constant share."""

from __future__ import annotations

import pytest

from serving.predict.rollout.pacing import BURST_SECONDS, Allowance


def test_it_rests_until_what_it_used_is_granted_again() -> None:
    now = 100.0
    allowance = Allowance(0.04, lambda: now)
    assert allowance.wait() == 0.0
    allowance.spend(BURST_SECONDS)
    assert allowance.wait() == 0.0
    allowance.spend(0.2)
    assert allowance.wait() == pytest.approx(5.0)
    now += 2.0
    assert allowance.wait() == pytest.approx(3.0)
    now += 3.0
    assert allowance.wait() == pytest.approx(0.0)
    # However long nothing was to do, no more than a burst is saved.
    now += 10_000.0
    allowance.spend(BURST_SECONDS + 0.04)
    assert allowance.wait() == pytest.approx(1.0)
