"""The comparer's queue and turns: bounded in predictions, age and processor time; one step at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from accident_reco.lifecycle.rollout.decision import MIN_CALLS, RolloutPolicy
from accident_reco.storage.tables.rollout import rollout_calls
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.live import wait_for
from accident_reco_tests.support.rollout_jobs import Version, job, running
from serving.common.metrics import Metrics
from serving.predict.rollout import comparer as module
from serving.predict.rollout.comparer import QUEUE_ROWS, QUEUE_SECONDS, TIMED_PER_BATCH, Comparer, ComparisonMetrics
from serving.predict.rollout.work import Running


class Bench:
    """A comparer, the rollout that it follows, and what it stopped."""

    def __init__(self, warehouse: Warehouse, challenger: Version) -> None:
        now = running(challenger)
        self.running: Running | None = replace(now, state=replace(now.state, rule=RolloutPolicy().document()))
        self.challenger, self.warehouse = challenger, warehouse
        self.stopped: list[str] = []
        self.metrics = ComparisonMetrics(Metrics())
        self.comparer = Comparer(
            "accidents", lambda row: row["request_id"], warehouse, self.metrics, 0.1, lambda: self.running, self.stop
        )

    def stop(self, running: Running, violated: str) -> None:
        self.stopped.append(violated)
        self.running = None

    def ask(self, *inputs: float, **changes: Any) -> None:
        assert self.running is not None
        self.comparer.enqueue(replace(job(self.running, inputs), **changes))

    def turn(self) -> None:
        """Start, compare what is queued, and stop."""
        self.comparer.start()
        self.comparer.close()

    def rows(self) -> list[dict[str, Any]]:
        with self.warehouse.connect() as connection:
            return [dict(row) for row in connection.execute(select(rollout_calls)).mappings()]

    @property
    def dropped(self) -> float:
        return self.metrics.dropped.labels("accidents")._value.get()


@pytest.fixture
def begin(warehouse: Warehouse) -> Callable[..., Bench]:
    return lambda challenger=None: Bench(warehouse, challenger or Version(0.25))


def test_what_arrived_is_compared_in_one_call_and_stored(begin: Callable[..., Bench]) -> None:
    bench = begin()
    for n in range(100):
        bench.ask(n / 1000, request_id=f"r{n}")
    bench.turn()
    rows = bench.rows()
    assert len(rows) == 100
    assert {row["group_key"] for row in rows} == {f"r{n}" for n in range(100)}
    assert [round(row["challenger_score"] - row["champion_score"], 9) for row in rows] == [0.25] * 100
    # One call for all of them, and each alone for its time, as long as the objective needs times.
    assert sorted(bench.challenger.calls) == [1] * 100 + [100]
    assert bench.dropped == 0


def test_times_are_measured_on_a_few_once_the_objective_has_enough(begin: Callable[..., Bench]) -> None:
    bench = begin()
    for turn in range(2):
        for _ in range(MIN_CALLS):
            bench.ask(0.1)
        bench.turn()
        timed = [row for row in bench.rows() if row["champion_ms"] is not None]
        assert len(timed) == MIN_CALLS + turn * TIMED_PER_BATCH


def test_the_queue_is_bounded_in_predictions(begin: Callable[..., Bench]) -> None:
    """A single large request fits an empty queue only."""
    bench = begin()
    large = [0.1] * (QUEUE_ROWS + 1)
    bench.ask(*large)
    assert bench.dropped == 0
    bench.ask(0.2)
    assert bench.dropped == 1
    bench.turn()
    assert len(bench.rows()) == len(large)
    bench.ask(0.2)
    bench.ask(*large)
    assert bench.dropped == 1 + len(large)


def test_what_waited_too_long_is_dropped(begin: Callable[..., Bench]) -> None:
    bench = begin()
    bench.ask(0.1, 0.2, at=time.time() - QUEUE_SECONDS - 1)
    bench.ask(0.3)
    bench.turn()
    assert [row["champion_score"] for row in bench.rows()] == [0.3]
    assert bench.dropped == 2


def test_requests_of_a_step_that_is_over_are_dropped(begin: Callable[..., Bench]) -> None:
    """They were answered by other shares, or compared with another challenger."""
    bench = begin()
    bench.ask(0.1)
    assert bench.running is not None
    later = replace(bench.running.state, share=0.1, step_since="2026-01-01T01:00:00+00:00")
    bench.running = replace(bench.running, state=later)
    bench.ask(0.2)
    bench.turn()
    assert [row["champion_score"] for row in bench.rows()] == [0.2]
    bench.ask(0.3)
    bench.running = None
    bench.turn()
    assert len(bench.rows()) == 1
    assert bench.dropped == 2


def test_the_allowance_bounds_the_turns_and_the_rest_waits(
    begin: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A costly challenger takes its burst; requests beyond it wait, and are dropped at the end."""

    class Costly(Version):
        def add(self, inputs: Any) -> list[float]:
            until = time.thread_time() + 0.02
            while time.thread_time() < until:
                pass
            return super().add(inputs)

    monkeypatch.setattr(module, "BATCH_ROWS", 1)
    monkeypatch.setattr("serving.predict.rollout.pacing.BURST_SECONDS", 0.05)
    bench = begin(Costly(0.25))
    for _ in range(20):
        bench.ask(0.1)
    bench.turn()
    compared = len(bench.rows())
    # Each request is computed twice, once for its time: 0.04 s.
    assert 1 <= compared <= 2
    assert bench.dropped == 20 - compared


def test_a_violation_is_reported_once(begin: Callable[..., Bench]) -> None:
    """What is still queued then is not compared any more."""
    bench = begin(Version(float("nan")))
    bench.ask(0.1)
    bench.comparer.start()
    wait_for(lambda: bench.stopped)
    bench.comparer.close()
    assert bench.stopped == ["1 of 1 scores are not finite"]
    assert bench.rows()[0]["problem"] == "not_finite"


def test_comparisons_that_cannot_be_stored_are_counted_and_still_judged(begin: Callable[..., Bench]) -> None:
    """The database is away: a bad challenger is stopped all the same."""
    bench = begin(Version(float("nan")))
    with bench.warehouse.begin() as connection:
        rollout_calls.drop(connection)
    bench.ask(0.1, 0.2)
    bench.turn()
    assert bench.dropped == 2
    assert bench.stopped == ["2 of 2 scores are not finite"]
