"""`PeriodicTask`: repeats, survives a failing run, stops promptly, finishes, and starts again."""

from __future__ import annotations

import threading
import time

import pytest

from serving.common import background
from serving.common.background import PeriodicTask


def test_it_repeats_until_it_is_stopped_and_then_finishes() -> None:
    """The last call is `finish`, in the same thread; nothing runs after `stop` returned."""
    calls: list[tuple[str, str]] = []
    three = threading.Event()

    def run() -> float:
        calls.append(("run", threading.current_thread().name))
        if len(calls) >= 3:
            three.set()
        return 0.001

    task = PeriodicTask("task", run, lambda: calls.append(("finish", threading.current_thread().name)))
    task.start()
    assert three.wait(5)
    assert task.is_running
    assert task.stop(5)
    assert calls[-1] == ("finish", "task")
    assert set(calls[:-1]) == {("run", "task")}


def test_stop_does_not_wait_for_the_interval() -> None:
    """Neither the pause between runs nor a pause inside a run delays a shutdown."""
    inside = threading.Event()
    waited: list[bool] = []

    def run() -> float:
        inside.set()
        waited.append(task.wait(60))
        return 60.0

    task = PeriodicTask("task", run)
    task.start()
    assert inside.wait(5)
    started = time.monotonic()
    assert task.stop(5)
    assert time.monotonic() - started < 2
    assert waited == [True]


def test_a_failing_run_does_not_end_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected exception is logged, and the next run follows."""
    monkeypatch.setattr(background, "RETRY_SECONDS", 0.001)
    runs: list[int] = []
    again = threading.Event()

    def run() -> float:
        runs.append(len(runs))
        if len(runs) == 1:
            raise KeyError("unexpected")
        again.set()
        return 60.0

    task = PeriodicTask("task", run)
    task.start()
    assert again.wait(5)
    assert task.stop(5)
    assert runs == [0, 1]


def test_it_starts_once_at_a_time_and_can_start_again() -> None:
    """Two threads of one task would do everything twice."""
    ran = threading.Semaphore(0)

    def run() -> float:
        ran.release()
        return 60.0

    task = PeriodicTask("task", run)
    for _ in range(2):
        task.start()
        assert ran.acquire(timeout=5)
        with pytest.raises(RuntimeError, match="runs already"):
            task.start()
        assert task.stop(5)


def test_a_run_that_does_not_end_is_reported() -> None:
    """`stop` is bounded; the daemon thread does not keep the process."""
    entered, release = threading.Event(), threading.Event()

    def run() -> float:
        entered.set()
        release.wait(10)
        return 0.0

    task = PeriodicTask("task", run)
    task.start()
    assert entered.wait(5)
    assert not task.stop(0.01)
    release.set()
    assert task.stop(5)
