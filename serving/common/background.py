"""Work in the background: one daemon thread that repeats a function until it is stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from serving.common import logs

# Pause after a run that raised.
RETRY_SECONDS: Final = 5.0


class PeriodicTask:
    """Runs a function in a daemon thread, at once after `start` and then at the interval that it returns.

    An exception of a run is logged and the next run follows after `RETRY_SECONDS`: background work never ends silently.

    Args:
        name: name of the thread, also in the log.
        run: one run; returns the seconds until the next one. It may call `wait` for pauses of its own.
        finish: last call in the thread once it is stopped, such as writing what is still queued.
    """

    def __init__(self, name: str, run: Callable[[], float], finish: Callable[[], None] | None = None) -> None:
        self._name = name
        self._run = run
        self._finish = finish
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._log = logs.get("background")

    @property
    def is_running(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Start the thread. Raises RuntimeError while it runs."""
        if self.is_running:
            raise RuntimeError(f"the background task {self._name} runs already")
        self._stop.clear()
        self._thread = threading.Thread(target=self._repeat, name=self._name, daemon=True)
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Stop after the run under way; returns whether the thread ended within `timeout` seconds."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout)
        return not self.is_running

    def wait(self, seconds: float) -> bool:
        """Block for `seconds`, or until `stop` is called; returns whether it was called."""
        return self._stop.wait(seconds)

    def _repeat(self) -> None:
        pause = 0.0
        while not self._stop.wait(pause):
            pause = self._guarded(self._run)
        if self._finish is not None:
            self._guarded(self._finish)

    def _guarded(self, function: Callable[[], float | None]) -> float:
        try:
            return function() or 0.0
        except Exception:
            self._log.exception("background task failed", task=self._name)
            return RETRY_SECONDS
