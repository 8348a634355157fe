"""Token buckets: how many requests an identity may make. Per worker process; memory is bounded."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

_IDENTITIES: Final = 10_000


class RateLimiter:
    """`rate` requests a second, `burst` at once, for each identity."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, identity: str) -> float:
        """Take one request: 0.0 when it may go on, else the seconds after which another try can succeed."""
        now = self._clock()
        level, seen = self._buckets.get(identity, (self._burst, now))
        level = min(self._burst, level + (now - seen) * self._rate)
        allowed = level >= 1.0
        self._buckets[identity] = (level - 1.0 if allowed else level, now)
        self._buckets.move_to_end(identity)
        if len(self._buckets) > _IDENTITIES:
            # The one seen longest ago has most likely a full bucket again.
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1.0 - level) / self._rate
