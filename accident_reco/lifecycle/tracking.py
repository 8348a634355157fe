"""What a training run leaves in MLflow, apart from MLflow: when the tracker is away a run is spooled and sent later.

MLflow is imported inside the functions that talk to it: it takes seconds, and serving never needs it.
"""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from accident_reco.lifecycle.bundle import canonical_json
from accident_reco.lifecycle.gate import Decision

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
VERSION_TAG = "bundle_version"
# MLflow refuses longer values.
LONGEST_TAG = 5000
_DOCUMENT = "run.json"


@dataclass(frozen=True)
class TrackedRun:
    """A finished training as MLflow shall show it. `artifacts` are file name → content.

    One that `joins` is no training of its own: it adds to the latest run of the same bundle version.
    """

    experiment: str
    name: str
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    artifacts: Mapping[str, bytes] = field(default_factory=dict)
    joins: bool = False


def gate_record(model: str, version: str, decision: Decision) -> TrackedRun:
    """What the gate said of a version, to join its run: reason and numbers, in full as `gate.json`."""
    document = decision.document()
    comparison = document["detail"].get("comparison") or {}
    metrics = {"gate_promoted": float(decision.promote)}
    if comparison:
        gain = comparison["gain"]
        metrics |= {"gate_gain": gain["value"], "gate_gain_low": gain["low"], "gate_gain_high": gain["high"]}
        metrics |= {"gate_holdout_rows": comparison["rows"], "gate_holdout_groups": comparison["groups"]}
    tags = {
        VERSION_TAG: version, "gate": "promoted" if decision.promote else "refused",
        "gate.reason": decision.reason[:LONGEST_TAG], "gate.champion": str(document["detail"].get("champion", "none")),
    }  # fmt: skip
    known = {name: float(value) for name, value in metrics.items() if value is not None}
    return TrackedRun(model, f"{model}-{version}-gate", {}, known, tags, {"gate.json": canonical_json(document)}, True)


def reachable(uri: str, seconds: float = 2.0) -> bool:
    """Whether a tracking URI can be talked to: a database file always, a server when its port accepts."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https"):
        return True
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=seconds):
            return True
    except OSError:
        return False


def prepare_experiment(uri: str, experiment: str, artifacts: Path) -> None:
    """Create the experiment where it is missing. With a database as tracker, artifacts go below `artifacts`."""
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=uri)
    if client.get_experiment_by_name(experiment) is None:
        # Without a place of its own MLflow would make ./mlruns wherever the process happens to stand.
        own = None if urlsplit(uri).scheme in ("http", "https") else (artifacts / experiment).as_uri()
        client.create_experiment(experiment, artifact_location=own)


def log_run(uri: str, run_id: str, run: TrackedRun) -> None:
    """Write everything of `run` into an existing MLflow run, and register the bundle of a training."""
    import mlflow
    from mlflow.entities import Metric, Param, RunTag

    client = mlflow.MlflowClient(tracking_uri=uri)
    client.log_batch(
        run_id,
        metrics=[Metric(name, float(value), 0, 0) for name, value in run.metrics.items()],
        params=[Param(name, str(value)) for name, value in run.params.items()],
        tags=[RunTag(name, value) for name, value in run.tags.items()],
    )
    for name, content in run.artifacts.items():
        with _as_file(name, content) as path:
            client.log_artifact(run_id, str(path), artifact_path="bundle")
    if not run.joins:
        register(uri, run_id, run)


def log_alone(uri: str, run: TrackedRun) -> str:
    """Log a run outside of any training: into the run that it joins, else (or where that is unknown) into a new one."""
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(run.experiment).experiment_id
    if run.joins:
        same = f"tags.{VERSION_TAG} = '{run.tags[VERSION_TAG]}'"
        found = client.search_runs([experiment], same, order_by=["attributes.start_time DESC"], max_results=1)
        if found:
            log_run(uri, found[0].info.run_id, run)
            return str(found[0].info.run_id)
    run_id = str(client.create_run(experiment, run_name=run.name).info.run_id)
    log_run(uri, run_id, run)
    client.set_terminated(run_id)
    return run_id


def register(uri: str, run_id: str, run: TrackedRun) -> None:
    """A registered model version for the run's bundle, under the alias `challenger`."""
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=uri)
    version = run.tags.get(VERSION_TAG)
    if not version:
        return
    if not client.search_registered_models(f"name = '{run.experiment}'"):
        client.create_registered_model(run.experiment)
    number = registered_number(client, run.experiment, version)
    if number is None:
        source = f"{client.get_run(run_id).info.artifact_uri}/bundle"
        made = client.create_model_version(run.experiment, source, run_id, tags={VERSION_TAG: version})
        number = str(made.version)
    client.set_registered_model_alias(run.experiment, CHALLENGER, number)


def registered_number(client: Any, model: str, version: str) -> str | None:
    """MLflow's number of a bundle version, None when it is not registered."""
    found = client.search_model_versions(f"name = '{model}'")
    return next((str(entry.version) for entry in found if entry.tags.get(VERSION_TAG) == version), None)


def move_aliases(uri: str, model: str, champion: str, previous: str | None) -> dict[str, str]:
    """Let the registry's aliases follow the pointer. Tells what was set; an alias whose version is not registered names
    nothing rather than the wrong one.
    """
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=uri)
    done = {}
    for alias, version in ((CHAMPION, champion), (PREVIOUS, previous)):
        number = registered_number(client, model, version) if version else None
        if number is not None:
            client.set_registered_model_alias(model, alias, number)
            done[alias] = number
        elif client.search_registered_models(f"name = '{model}'"):
            client.delete_registered_model_alias(model, alias)
    return done


def spool(directory: Path, run: TrackedRun) -> Path:
    """Keep a run for later; the document is written last, so that half a run is never sent."""
    # In order of name a run goes before what joins it.
    place = directory / f"{run.experiment}-{run.tags.get(VERSION_TAG, run.name)}{'-gate' if run.joins else ''}"
    place.mkdir(parents=True, exist_ok=True)
    for name, content in run.artifacts.items():
        (place / name).write_bytes(content)
    document = {
        "experiment": run.experiment, "name": run.name, "params": dict(run.params), "metrics": dict(run.metrics),
        "tags": dict(run.tags), "artifacts": sorted(run.artifacts),
        "joins": run.joins,
    }  # fmt: skip
    (place / _DOCUMENT).write_text(json.dumps(document), encoding="utf-8")
    return place


def send_spooled(directory: Path, send: Callable[[TrackedRun], None]) -> int:
    """Send every complete spooled run and forget it; an error leaves it and those after it. Returns how many went."""
    sent = 0
    for document in sorted(directory.glob(f"*/{_DOCUMENT}")):
        raw = json.loads(document.read_text(encoding="utf-8"))
        names = raw.pop("artifacts")
        send(TrackedRun(**raw, artifacts={name: (document.parent / name).read_bytes() for name in names}))
        shutil.rmtree(document.parent)
        sent += 1
    return sent


class _as_file:
    """A temporary file of a given name, for a client that takes paths only."""

    def __init__(self, name: str, content: bytes) -> None:
        self._name, self._content = name, content

    def __enter__(self) -> Path:
        import tempfile

        self._directory = tempfile.TemporaryDirectory()
        path = Path(self._directory.name) / self._name
        path.write_bytes(self._content)
        return path

    def __exit__(self, *_: object) -> None:
        self._directory.cleanup()
