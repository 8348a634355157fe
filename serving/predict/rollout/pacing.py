"""How much processor time comparisons may take: they share the interpreter with the requests that wait for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

BURST_SECONDS: Final = 1.0
"""Processor time that may be spent at once: so that a bad challenger is found within seconds, whatever it costs."""


class Allowance:
    """Processor time, granted at a constant rate and saved up to `BURST_SECONDS`.

    Args:
        share: share of one core, at most 1.
        clock: seconds.
    """

    def __init__(self, share: float, clock: Callable[[], float]) -> None:
        self._share, self._clock = share, clock
        self._balance, self._at = BURST_SECONDS, clock()

    def spend(self, seconds: float) -> None:
        """Account for processor time that was used."""
        self._balance = self._accrued() - seconds
        self._at = self._clock()

    def wait(self) -> float:
        """Seconds until the balance is positive again; 0 where it is."""
        return max(0.0, -self._accrued() / self._share)

    def _accrued(self) -> float:
        return min(BURST_SECONDS, self._balance + self._share * (self._clock() - self._at))
