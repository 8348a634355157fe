"""The token bucket on a clock of the test's own."""

import pytest

from serving.common.rate import RateLimiter


class Clock:
    """Seconds that pass when the test adds them."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_burst_then_the_exact_wait() -> None:
    """The burst passes at once; then the wait is what one request takes to refill, and waiting that long is enough."""
    clock = Clock()
    limiter = RateLimiter(2.0, 3, clock)
    assert [limiter.acquire("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    clock.now += 0.125
    assert limiter.acquire("a") == 0.375
    clock.now += 0.375
    assert limiter.acquire("a") == 0.0
    assert limiter.acquire("a") == 0.5


def test_a_refused_try_costs_nothing_and_a_rest_refills_no_more_than_the_burst() -> None:
    """Trying again while limited does not lengthen the wait; an hour's rest gives one burst, not an hour's worth."""
    clock = Clock()
    limiter = RateLimiter(2.0, 3, clock)
    assert [limiter.acquire("a") for _ in range(9)] == [0.0] * 3 + [0.5] * 6
    clock.now += 3600
    assert [limiter.acquire("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]


def test_identities_do_not_share_a_bucket() -> None:
    """One client's burst is not another's."""
    limiter = RateLimiter(2.0, 1, Clock())
    assert [limiter.acquire("a"), limiter.acquire("a"), limiter.acquire("b")] == [0.0, 0.5, 0.0]


def test_memory_is_bounded_and_the_longest_unseen_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit the identity seen longest ago starts afresh; one that was seen since keeps its bucket."""
    monkeypatch.setattr("serving.common.rate._MAX_IDENTITIES", 2)
    limiter = RateLimiter(2.0, 1, Clock())
    for identity in ("a", "b", "a"):
        limiter.acquire(identity)
    limiter.acquire("c")
    assert limiter.acquire("a") == 0.5
    assert limiter.acquire("c") == 0.5
    assert limiter.acquire("b") == 0.0
