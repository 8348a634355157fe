"""Trains a model from the command line: by a request to the running platform, or in a child process without one."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from accident_reco.launch.home import prepare_home
from accident_reco.launch.platform import run_pipeline
from accident_reco.launch.processes import LaunchError
from accident_reco.launch.running import find_running
from accident_reco.settings import Settings
from accident_reco.storage.lifecycle import promotion_history
from accident_reco.storage.warehouse import Warehouse
from accident_reco.storage.work_requests import OPEN, request_work, work_request

POLL_SECONDS = 1.0


@dataclass(frozen=True)
class TrainingOutcome:
    """End of a training.

    Args:
        status: `promoted`, `refused`, `failed`, or `done` (ended without a decision).
        reason: the gate's, or that of the failure.
        run_id: Dagster run; None where a request ended without one.
    """

    model: str
    status: str
    reason: str
    run_id: str | None


def train_here(settings: Settings, environ: dict[str, str], model: str, echo: bool) -> TrainingOutcome:
    """Train in a child process, on the Dagster instance of the home.

    Raises:
        LaunchError: the training failed.
    """
    prepare_home(settings)
    with closing(Warehouse(settings.database)) as warehouse:
        before = {row["id"] for row in promotion_history(warehouse, model)}
        failure: LaunchError | None = None
        try:
            run_pipeline(settings, environ, "--train", model, echo=echo)
        except LaunchError as error:  # the run of a first candidate that the gate rejects fails: nothing serves
            failure = error
        decided = [row for row in promotion_history(warehouse, model, limit=5) if row["id"] not in before]
    if failure is not None and not decided:
        raise failure
    if not decided:
        return TrainingOutcome(
            model, "done", "the training ended without a decision: the candidate serves already", None
        )
    newest = decided[0]
    return TrainingOutcome(
        model, "promoted" if newest["promoted"] else "refused", str(newest["reason"]), str(newest["run_id"])
    )


def request_training(settings: Settings, model: str, requested_by: str) -> dict[str, Any]:
    """Queue a training, as `POST /training/{model}` does; returns id, model, status and reason of the request."""
    with closing(Warehouse(settings.database)) as warehouse:
        row, _ = request_work(
            warehouse,
            kind="training",
            model=model,
            source="api",
            requested_by=requested_by,
            reason="requested on the command line",
        )
    return {name: row[name] for name in ("id", "model", "status", "reason")}


def await_request(settings: Settings, request_id: str, report: Callable[[str], None]) -> TrainingOutcome:
    """Wait for the end of a request; `report` prints each change of its state.

    Raises:
        LaunchError: the platform stopped meanwhile; the request stays and its next start continues it.
    """
    known = "queued"
    with closing(Warehouse(settings.database)) as warehouse:
        while True:
            row = work_request(warehouse, request_id)
            if row is None:
                raise LaunchError(f"the request {request_id} is gone: the home was replaced")
            if row["status"] not in OPEN:
                return TrainingOutcome(row["model"], row["status"], row["outcome"] or "", row["run_id"])
            if row["status"] != known:
                known = row["status"]
                report(f"{known}, run {row['run_id']}")
            running = find_running(settings.home)
            if running is None or not running.has_services:
                raise LaunchError(f"the platform stopped; request {request_id} continues at its next start")
            time.sleep(POLL_SECONDS)
