"""Signals as an interactive shell gives them: a script starts what it runs in the background with SIGINT ignored."""

from __future__ import annotations

import signal


def restore_interrupts() -> None:
    """Handle SIGINT, and let SIGQUIT end the process, also where they were inherited as ignored.

    A program that is started inherits what is ignored, so that Ctrl-C would not end the platforms that tests start.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)
