"""Tracked runs, and the spool: runs that wait for the tracker, as folders below one directory.

Calls of MLflow are in `tracking`, which exports the names of both. A run that the tracker rejects is set aside with
the reason and does not delay others.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accident_reco.lifecycle.bundle import canonical_json
from accident_reco.lifecycle.gate import Decision
from accident_reco.lifecycle.training_history import EvaluationTable, History, now

VERSION_TAG = "bundle_version"
# MLflow rejects longer values.
MAX_TAG_LENGTH = 5000
DOCUMENT, ATTEMPTS = "run.json", "attempts"
MODEL = "model"
"""Folder of the MLflow model, in the spool and among the artifacts of a run."""
# Renamed to DOCUMENT, the run is sent again.
REJECTED_DOCUMENT, REASON = "run.rejected.json", "reason.txt"
MAX_ATTEMPTS = 5
_JOINS = "-gate"


class RejectedRun(RuntimeError):
    """The tracker rejects this run itself; the message is the tracker's reason."""


@dataclass(frozen=True)
class TrackedRun:
    """A finished training for MLflow.

    `artifacts` are file name → content; `model_files` path → content of the version as an MLflow model; `datasets`
    name → SHA-256 of what it was trained on; `history` metrics by step; `tables` name → columns of JSON values. With
    `joins` it is added to the latest run of the same bundle version. With `parent`, the key of another run, it is shown
    below that one; a spooled parent has a name that sorts before those of its children. `status` is MLflow's:
    `FINISHED` or `FAILED`.
    `key` identifies the run in the tracker, so that it is found again after an attempt of unknown outcome, and
    `logged_at` (milliseconds since 1970) is the time of its metrics, so that the next attempt repeats the same ones.
    """

    experiment: str
    name: str
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    artifacts: Mapping[str, bytes] = field(default_factory=dict)
    model_files: Mapping[str, bytes] = field(default_factory=dict)
    datasets: Mapping[str, str] = field(default_factory=dict)
    history: History = field(default_factory=dict)
    tables: Mapping[str, EvaluationTable] = field(default_factory=dict)
    joins: bool = False
    parent: str = ""
    status: str = "FINISHED"
    key: str = field(default_factory=lambda: uuid.uuid4().hex, compare=False)
    logged_at: int = field(default_factory=now, compare=False)

    @property
    def start_time(self) -> int:
        """When the training began, as far as its history knows; milliseconds since 1970."""
        return min((when for points in self.history.values() for _, _, when in points), default=self.logged_at)


def gate_record(model: str, version: str, decision: Decision) -> TrackedRun:
    """The gate's decision on a version, to join its run: reason and figures, in full as `gate.json`."""
    document = decision.document()
    comparison = document["detail"].get("comparison") or {}
    metrics = {"gate_promoted": float(decision.promote)}
    if comparison:
        gain = comparison["gain"]
        metrics |= {"gate_gain": gain["value"], "gate_gain_low": gain["low"], "gate_gain_high": gain["high"]}
        metrics |= {"gate_holdout_rows": comparison["rows"], "gate_holdout_groups": comparison["groups"]}
    tags = {
        VERSION_TAG: version,
        "gate": "promoted" if decision.promote else "refused",
        "gate.reason": decision.reason[:MAX_TAG_LENGTH],
        "gate.champion": str(document["detail"].get("champion", "none")),
    }
    known = {name: float(value) for name, value in metrics.items() if value is not None}
    return TrackedRun(
        model, f"{model}-{version}-gate", {}, known, tags, {"gate.json": canonical_json(document)}, joins=True
    )


def failure_record(model: str, job: str, dagster_run_id: str, step: str, reason: str) -> TrackedRun:
    """A training that failed at a step, as a run of status FAILED; the same one for every failed step of a run."""
    reason = reason[:MAX_TAG_LENGTH]
    tags = {
        "dagster_run_id": dagster_run_id,
        "failure.step": step,
        "failure.reason": reason,
        "mlflow.note.content": f"{step}: {reason}"[:MAX_TAG_LENGTH],
        "mlflow.source.type": "JOB",
        "mlflow.source.name": job,
    }
    key = hashlib.sha256(dagster_run_id.encode()).hexdigest()[:32]
    return TrackedRun(model, f"{job}-failed-{dagster_run_id[:8]}", {}, {}, tags, status="FAILED", key=key)


class UnreadableRun(ValueError):
    """A spooled run is damaged; the message names the file and the cause."""


@dataclass
class SpoolReport:
    """Number of spooled runs that were sent, and those set aside: folder → reason."""

    sent: int = 0
    rejected: dict[str, str] = field(default_factory=dict)


def spool(directory: Path, run: TrackedRun) -> Path:
    """Store a run for later. Returns its folder. The document is written last, so that no incomplete run is sent."""
    place = _place(directory, run)
    place.mkdir(parents=True, exist_ok=True)
    for name in (DOCUMENT, ATTEMPTS, REJECTED_DOCUMENT, REASON):
        (place / name).unlink(missing_ok=True)
    for name, content in run.artifacts.items():
        (place / name).write_bytes(content)
    write_files(place / MODEL, run.model_files)
    document = {
        "experiment": run.experiment,
        "name": run.name,
        "params": dict(run.params),
        "metrics": dict(run.metrics),
        "tags": dict(run.tags),
        "artifacts": sorted(run.artifacts),
        "model_files": sorted(run.model_files),
        "datasets": dict(run.datasets),
        "history": dict(run.history),
        "tables": dict(run.tables),
        "joins": run.joins,
        "parent": run.parent,
        "status": run.status,
        "key": run.key,
        "logged_at": run.logged_at,
    }
    unfinished = place / f"{DOCUMENT}.part"
    unfinished.write_text(json.dumps(document), encoding="utf-8")
    unfinished.replace(place / DOCUMENT)
    return place


def load(place: Path) -> TrackedRun:
    """A spooled run. Raises UnreadableRun."""
    try:
        text = (place / DOCUMENT).read_text(encoding="utf-8")
        # Folders of releases without keys: the same content has the same key at each attempt.
        raw = {"key": hashlib.sha256(text.encode()).hexdigest()[:32], "logged_at": 0} | json.loads(text)
        artifacts = {name: (place / name).read_bytes() for name in raw.pop("artifacts")}
        model_files = {name: (place / MODEL / name).read_bytes() for name in raw.pop("model_files", ())}
        history = {name: [tuple(point) for point in points] for name, points in raw.pop("history", {}).items()}
        return TrackedRun(**raw, history=history, artifacts=artifacts, model_files=model_files)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UnreadableRun(f"{place / DOCUMENT}: {type(error).__name__}: {error}") from error


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Files by their path below the folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def set_aside(place: Path, reason: str) -> None:
    """Exclude a spooled run from sending, with the reason."""
    (place / REASON).write_text(reason + "\n", encoding="utf-8")
    (place / DOCUMENT).rename(place / REJECTED_DOCUMENT)
    (place / ATTEMPTS).unlink(missing_ok=True)


def is_waiting(directory: Path) -> bool:
    """Whether any run waits to be sent."""
    return any(directory.glob(f"*/{DOCUMENT}"))


def joined_run_waits(directory: Path, run: TrackedRun) -> bool:
    """Whether the run that this one joins is in the spool, and therefore not in the tracker."""
    place = _place(directory, run)
    return run.joins and (place.with_name(place.name.removesuffix(_JOINS)) / DOCUMENT).exists()


def send_spooled(
    directory: Path, send: Callable[[TrackedRun], object], answers: Callable[[], bool], deadline: float = math.inf
) -> SpoolReport:
    """Send every complete spooled run and delete it, those with the fewest attempts first.

    A run that is rejected, damaged, or failed `MAX_ATTEMPTS` times is set aside. After any other error the next one is
    sent, unless the tracker no longer `answers`: then the rest waits. None is started after `deadline`, a time of
    `time.monotonic`. Only one process sends at a time; a second one returns at once.
    """
    report = SpoolReport()
    if not is_waiting(directory):
        return report
    with _locked(directory) as alone:
        for place in _in_order(directory) if alone else []:
            if time.monotonic() >= deadline:
                break
            if place.name.endswith(_JOINS) and (directory / place.name.removesuffix(_JOINS) / DOCUMENT).exists():
                continue
            # Counted in advance: an attempt that hangs until the process is killed counts, too.
            attempt = _attempts(place) + 1
            (place / ATTEMPTS).write_text(str(attempt), encoding="ascii")
            try:
                send(load(place))
            except Exception as error:
                final = isinstance(error, (UnreadableRun, RejectedRun))
                if not final and not answers():
                    (place / ATTEMPTS).write_text(str(attempt - 1), encoding="ascii")
                    break
                if final or attempt >= MAX_ATTEMPTS:
                    set_aside(place, str(error))
                    report.rejected[str(place)] = str(error)
            else:
                shutil.rmtree(place)
                report.sent += 1
    return report


def _place(directory: Path, run: TrackedRun) -> Path:
    return directory / f"{run.experiment}-{run.tags.get(VERSION_TAG, run.name)}{_JOINS if run.joins else ''}"


def _in_order(directory: Path) -> list[Path]:
    """Runs before those that join them; those with failed attempts last."""
    places = [document.parent for document in directory.glob(f"*/{DOCUMENT}")]
    return sorted(places, key=lambda place: (place.name.endswith(_JOINS), _attempts(place), place.name))


def _attempts(place: Path) -> int:
    try:
        return int((place / ATTEMPTS).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


@contextmanager
def _locked(directory: Path) -> Iterator[bool]:
    """Whether this process is the only one that sends; the lock ends with the process."""
    with directory.with_suffix(".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
