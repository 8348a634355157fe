"""Sampled requests of a rollout between two trivial versions: each adds a number to its inputs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, cast

from accident_reco.lifecycle.bundle import Manifest
from accident_reco.lifecycle.rollout.state import Rollout
from accident_reco.lifecycle.store import Pointer
from serving.predict.model_slot import Champion
from serving.predict.prediction_log import new_id
from serving.predict.rollout.comparison import Job
from serving.predict.rollout.work import Method, Outcome, Running, Served, Work, merge_lists

ONE, TWO = "a" * 16, "b" * 16
STATE = Rollout(
    model="accidents",
    champion=ONE,
    challenger=TWO,
    manifest_sha256="",
    mode="shadow",
    share=0.0,
    steps=(),
    since="2026-01-01T00:00:00+00:00",
    step_since="2026-01-01T00:00:00+00:00",
    ends="2026-01-02T00:00:00+00:00",
    rule={},
    run_id="run",
)
Inputs = Sequence[float]


class Version:
    """Adds a number; fails on negative inputs if it should. Counts its calls."""

    def __init__(self, plus: float, fails: bool = False) -> None:
        self.plus, self.fails = plus, fails
        self.calls: list[int] = []

    def add(self, inputs: Inputs) -> list[float]:
        """Each input plus the number."""
        self.calls.append(len(inputs))
        if self.fails and min(inputs) < 0:
            raise RuntimeError("negative")
        return [value + self.plus for value in inputs]


def load(version: str, model: Any) -> Champion[Any]:
    """A loaded version."""
    pointer = Pointer(version, "", "", "run", None, "")
    return Champion("accidents", version, model, cast("Manifest", None), pointer, "store")


def outcomes(result: Sequence[float]) -> list[Outcome]:
    """One per number; the class is at 0.5."""
    return [Outcome(value, value >= 0.5) for value in result]


METHOD: Method[Inputs, list[float]] = Method(lambda version, inputs: version.model.add(inputs), outcomes, merge_lists)


def running(challenger: Version, champion: Version | None = None) -> Running:
    """A shadow with both versions."""
    return Running(STATE, load(ONE, champion or Version(0.0)), load(TWO, challenger))


def job(
    now: Running,
    inputs: Inputs,
    *,
    by_challenger: bool = False,
    failed: bool = False,
    method: Method[Inputs, list[float]] = METHOD,
) -> Job:
    """A request of some numbers that one of the versions has answered just now."""
    version = now.challenger if by_challenger else now.champion
    work = Work(method, inputs)
    served = Served(version, [value + version.model.plus for value in inputs], failed)
    call = new_id()
    ids = [f"{call}-{place}" for place in range(len(inputs))]
    return Job(now, served, work, "request", ids, [{}] * len(inputs), time.time())
