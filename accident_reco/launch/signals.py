"""Orderly stop by signals: SIGINT and SIGTERM end a command where it waits, with the exit code that shells expect."""

from __future__ import annotations

import signal
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(BaseException):
    """Raised where the main thread is when SIGTERM or Ctrl-C arrives."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def exit_code(self) -> int:
        """128 plus the signal's number: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.number


def stop_on_signals() -> None:
    """Raise `Stopped` on SIGTERM and SIGINT, also in a background job of a script, which starts with SIGINT ignored."""
    for number in STOP_SIGNALS:
        signal.signal(number, _stop)


def restore_default_signals() -> None:
    """Default handling in a new child process: it must not inherit that a script ignores SIGINT."""
    for number in (*STOP_SIGNALS, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def _stop(number: int, _frame: FrameType | None) -> None:
    # A second Ctrl-C must not interrupt the orderly stop.
    for other in STOP_SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise Stopped(number)
