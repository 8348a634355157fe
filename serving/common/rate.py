"""Token buckets: the request rate of each identity. Per worker process; memory is bounded."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

_MAX_IDENTITIES: Final = 10_000


class RateLimiter:
    """Allows each identity `rate` requests per second, and `burst` at once."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def acquire(self, identity: str) -> float:
        """Count one request; returns 0.0 if it is allowed, else the seconds until a retry can succeed."""
        now = self._clock()
        level, updated = self._buckets.get(identity, (self._burst, now))
        level = min(self._burst, level + (now - updated) * self._rate)
        allowed = level >= 1.0
        self._buckets[identity] = (level - 1.0 if allowed else level, now)
        self._buckets.move_to_end(identity)
        if len(self._buckets) > _MAX_IDENTITIES:
            # The bucket that was used longest ago is most likely full again.
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1.0 - level) / self._rate
