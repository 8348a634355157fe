"""The rollout of one model in a predict process: follows the state, and chooses who answers.

A request never fails because of it: what the challenger cannot answer, the champion answers. A challenger that violates
a service objective stops at once in this process; the state that this process writes then stops it in all others.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from accident_reco.contract import ModelServing
from accident_reco.lifecycle.rollout.control import carry_out
from accident_reco.lifecycle.rollout.decision import Step
from accident_reco.lifecycle.rollout.state import Rollout, is_chosen, read_rollout
from accident_reco.lifecycle.store import ModelStore, Pointer
from accident_reco.storage.objects import StoreError
from accident_reco.storage.warehouse import Warehouse
from serving.common import logs
from serving.common.background import PeriodicTask
from serving.common.metrics import Metrics
from serving.common.problems import Problem
from serving.predict.model_slot import Champion, Loader, ModelSlot
from serving.predict.rollout.comparer import Comparer, ComparisonMetrics
from serving.predict.rollout.comparison import Job
from serving.predict.rollout.work import I, R, Running, Served, Work, is_finite

# Polls after which a larger share counts: by then all processes know it, and change at the same moment, so that nobody
# meets both versions in turns. The interval must be the same for all of them.
EFFECTIVE_AFTER_POLLS: Final = 4

# A failing store is not read as an end of the rollout before this: nobody changes versions for a moment's outage, and a
# process that is cut off does not go on with a rollout that the others have ended.
GRACE_SECONDS: Final = 3.0


class RolloutMetrics(ComparisonMetrics):
    """Metrics of the rollouts of a process."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__(metrics)
        self.share = metrics.gauge(
            "rollout_share", "Share of the traffic that the challenger answers; -1: no rollout", ("model",), "livemax"
        )
        self.fallbacks = metrics.counter(
            "rollout_fallbacks", "Requests that the champion answered since the challenger failed", ("model",)
        )
        self.problem = metrics.gauge(
            "rollout_problem", "1 if this process cannot follow the rollout", ("model",), "livemax"
        )


class RolloutSlot:
    """Requests call `serve` and `compare`; background tasks poll the state and compare."""

    def __init__(
        self,
        slot: ModelSlot[Any],
        serving: ModelServing,
        loader: Loader[Any],
        store: Callable[[], ModelStore],
        warehouse: Warehouse,
        metrics: RolloutMetrics,
        sample: float,
        poll_seconds: float,
    ) -> None:
        self.running: Running | None = None
        self._slot, self._loader = slot, loader
        self._open_store = store
        self._store: ModelStore | None = None
        self._warehouse, self._metrics = warehouse, metrics
        self._sample, self._poll_seconds = sample, poll_seconds
        self._stopped: tuple[str, str] | None = None  # challenger and start of a rollout that this process stopped
        self._comparer = Comparer(
            slot.name, serving.log_group, warehouse, metrics, sample, lambda: self.running, self._stop
        )
        self._first_poll = threading.Event()
        self._followed_at = float("-inf")
        self._task = PeriodicTask(f"rollout-{slot.name}", self._poll)
        self._log = logs.get("rollout")

    def start(self) -> None:
        """Begin to follow the state, after the champion's slot has begun, and to compare."""
        self._task.start()
        self._comparer.start()

    def wait_for_first_poll(self, seconds: float) -> None:
        """Block until the challenger of a running rollout is loaded, for at most `seconds`: a new process goes on to
        answer for whom others answer with it."""
        self._first_poll.wait(seconds)

    def close(self) -> None:
        """End both tasks."""
        self._task.stop(3)
        self._comparer.close()

    # Requests
    def serve(self, champion: Champion[Any], key: str, work: Work[I, R]) -> Served[R]:
        """Compute a request with the version that answers for its key: an account or a user."""
        version = self.choose(champion, key)
        return self.accept(champion, version, work, lambda: work.call(version))

    def choose(self, champion: Champion[Any], key: str) -> Champion[Any]:
        """The version that answers for a key."""
        running = self.running
        if (
            running is None
            or running.state.champion != champion.version
            or not is_chosen(running.share(time.time()), key, running.challenger.version)
        ):
            return champion
        return running.challenger

    def accept(
        self, champion: Champion[Any], version: Champion[Any], work: Work[I, R], compute: Callable[[], R]
    ) -> Served[R]:
        """What the chosen version computes; the champion's result where that is a challenger which fails."""
        if version is champion:
            return Served(champion, compute())
        try:
            result = compute()
            if all(is_finite(outcome) for outcome in work.outcomes(result)):
                return Served(version, result)
        except Problem:
            raise
        except Exception as error:  # whatever a version does, the champion answers
            self._log.warning("challenger failed", version=version.version, error=str(error)[:500])
        self._metrics.fallbacks.labels(champion.name).inc()
        return Served(champion, work.call(champion), challenger_failed=True)

    def compare(
        self,
        served: Served[R],
        work: Work[I, R],
        request_id: str,
        ids: Sequence[str],
        inputs: Sequence[Mapping[str, Any]],
    ) -> None:
        """Queue a sampled request for the other version. Never blocks.

        Args:
            ids, inputs: one entry per prediction, as the log stores them.
        """
        running = self.running
        if running is None or random.random() >= self._sample:  # noqa: S311 - a sample, not a secret
            return
        if served.version.version in (running.state.champion, running.state.challenger):
            self._comparer.enqueue(Job(running, served, work, request_id, ids, inputs, time.time()))

    def find(self, version: str) -> Champion[Any] | None:
        """The challenger, where it has this version and its rollout runs."""
        running = self.running
        return running.challenger if running is not None and running.challenger.version == version else None

    # State
    def _poll(self) -> float:
        try:
            self._follow()
            self._followed_at = time.monotonic()
            self._metrics.problem.labels(self._slot.name).set(0)
        except Exception as error:  # store away, state damaged, bundle that does not load: the champion serves
            is_away = isinstance(error, StoreError | OSError)
            if not is_away or time.monotonic() - self._followed_at > GRACE_SECONDS:
                self.running = None
            self._metrics.problem.labels(self._slot.name).set(1)
            self._log.error("rollout not followed", model=self._slot.name, error=str(error)[:500])
        self._first_poll.set()
        running = self.running
        self._metrics.share.labels(self._slot.name).set(-1 if running is None else running.state.share)
        return self._poll_seconds

    def _follow(self) -> None:
        if self._store is None:
            self._store = self._open_store()
        state, champion, before = read_rollout(self._store, self._slot.name), self._slot.current, self.running
        if state is not None and before is not None and champion is before.champion and _is_just_promoted(state):
            return  # until its slot has loaded the new champion: whom it answered already, it goes on to answer
        if state is None or not state.is_running or champion is None or state.champion != champion.version:
            self.running = None
            return
        if (state.challenger, state.since) == self._stopped:
            return
        if before is None or before.state.challenger != state.challenger:
            challenger = self._load(self._store, state)
            self._log.info("challenger loaded", model=state.model, version=state.challenger, mode=state.mode)
        else:
            challenger = before.challenger
        decided = datetime.fromisoformat(state.step_since).timestamp()
        self.running = Running(state, champion, challenger, decided + EFFECTIVE_AFTER_POLLS * self._poll_seconds)

    def _load(self, store: ModelStore, state: Rollout) -> Champion[Any]:
        manifest = store.manifest(state.model, state.challenger)
        if manifest.sha256 != state.manifest_sha256:
            raise ValueError(f"the manifest of {state.challenger} is not that of the rollout (sha256 differs)")
        reason = f"{state.mode} in progress"
        pointer = Pointer(state.challenger, state.manifest_sha256, state.since, state.run_id, state.champion, reason)
        model = self._loader(store.files(manifest), manifest)
        return Champion(state.model, state.challenger, model, manifest, pointer, "store")

    def _stop(self, running: Running, violated: str) -> None:
        """Stop the challenger here, then in every process."""
        version = running.state.challenger
        self._stopped, self.running = (version, running.state.since), None
        self._log.error("challenger stopped", model=self._slot.name, version=version, reason=violated)
        state = read_rollout(self._store, self._slot.name) if self._store is not None else None
        if self._store is None or state is None or not state.is_running or state.challenger != version:
            return
        step = Step("roll_back", f"service objective: {violated}", 0.0)
        try:
            carry_out(self._store, self._warehouse, state, step, by="predict service", now=datetime.now(UTC))
        except Exception as error:
            # Another process decided in this moment, or store or warehouse failed: the next comparison tries again.
            self._stopped = None
            self._log.warning("rollout not ended yet", model=self._slot.name, error=str(error)[:500])


def _is_just_promoted(state: Rollout) -> bool:
    decided = datetime.fromisoformat(state.decisions[-1]["at"]).timestamp()
    return state.outcome == "promoted" and time.time() - decided < GRACE_SECONDS
