"""Calls of MLflow: experiments, runs, and the registry with its aliases. Runs and their spool are in `tracking_spool`;
this module exports the names of both.

MLflow is imported inside the functions that call it: it takes seconds, and serving never needs it.
"""

from __future__ import annotations

import json
import math
import socket
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from accident_reco.lifecycle.bundle import CARD_FILE
from accident_reco.lifecycle.tracking_spool import (
    MODEL,
    VERSION_TAG,
    RejectedRun,
    SpoolReport,
    TrackedRun,
    failure_record,
    gate_record,
    is_waiting,
    joined_run_waits,
    send_spooled,
    set_aside,
    spool,
    write_files,
)
from accident_reco.lifecycle.training_history import EvaluationTable

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "KEY_TAG",
    "PREVIOUS",
    "VERSION_TAG",
    "RejectedRun",
    "SpoolReport",
    "TrackedRun",
    "answers",
    "failure_record",
    "find_or_create_run",
    "gate_record",
    "is_local",
    "is_waiting",
    "joined_run_waits",
    "log_alone",
    "log_run",
    "mark_failed",
    "move_aliases",
    "prepare_experiment",
    "reachable",
    "register",
    "registered_number",
    "send_spooled",
    "set_aside",
    "spool",
]

# MLflow's database rejects longer descriptions, and longer digests of a dataset.
MAX_DESCRIPTION, MAX_DIGEST = 5000, 36
# MLflow accepts this many metrics in one request.
MAX_METRICS = 1000
TABLES = "tables"
"""Folder of the tables among the artifacts of a run."""
TABLES_TAG = "mlflow.loggedArtifacts"
EXPERIMENT_KIND = ("mlflow.experimentKind", "custom_model_development")
"""Tag with which MLflow's pages show runs and charts, and not traces of language models."""
CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
KEY_TAG = "tracking_key"
PARENT_TAG = "mlflow.parentRunId"
# Error codes of MLflow for a run that it rejects: sending it again cannot succeed.
REJECTIONS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "MALFORMED_REQUEST")


def reachable(uri: str, seconds: float = 2.0) -> bool:
    """Whether a tracking URI is reachable: a database file always, a server where its port accepts connections."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https"):
        return True
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=seconds):
            return True
    except OSError:
        return False


def is_local(uri: str) -> bool:
    """Whether a tracking URI is a database file or directory, not a server."""
    return urlsplit(uri).scheme in ("", "file", "sqlite")


def answers(uri: str) -> bool:
    """Whether the tracker answers a request that does not depend on any run."""
    import mlflow

    try:
        mlflow.MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
    except Exception:  # any error of the client
        return False
    return True


def prepare_experiment(uri: str, experiment: str, artifacts: Path) -> str:
    """Id of the experiment, created where it is missing. With a database as tracker, artifacts go below `artifacts`."""
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    if found is not None:
        if EXPERIMENT_KIND[0] not in found.tags:
            client.set_experiment_tag(found.experiment_id, *EXPERIMENT_KIND)
        return str(found.experiment_id)
    # By default MLflow creates ./mlruns in the current directory.
    location = None if urlsplit(uri).scheme in ("http", "https") else (artifacts / experiment).as_uri()
    return str(client.create_experiment(experiment, location, dict([EXPERIMENT_KIND])))


def find_or_create_run(uri: str, experiment_id: str, run: TrackedRun, tags: Mapping[str, str] | None = None) -> str:
    """Id of the MLflow run with this run's key, else with one of `tags`, else of a new one that has all of them."""
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=uri)
    known = {KEY_TAG: run.key, **(tags or {})}
    for name, value in known.items():
        found = client.search_runs([experiment_id], f"tags.{name} = '{value}'", max_results=1)
        if found:
            return str(found[0].info.run_id)
    return str(client.create_run(experiment_id, run.start_time or None, known, run.name).info.run_id)


def log_run(uri: str, run_id: str, run: TrackedRun) -> None:
    """Write everything of `run` into an existing MLflow run, and register the bundle of a training.

    Raises RejectedRun for a run that the tracker rejects, MLflow's errors otherwise.
    """
    import mlflow
    from mlflow.entities import Param, RunTag

    client = mlflow.MlflowClient(tracking_uri=uri)
    try:
        first, *others = _batches(run)
        client.log_batch(
            run_id,
            metrics=first,
            params=[Param(name, str(value)) for name, value in run.params.items()],
            tags=[RunTag(name, value) for name, value in run.tags.items()],
        )
        for metrics in others:
            client.log_batch(run_id, metrics)
        if run.datasets:
            client.log_inputs(run_id, [_dataset(name, digest) for name, digest in run.datasets.items()])
        tables = {f"{name}.json": _table_document(table) for name, table in run.tables.items()}
        for folder, files in (("bundle", run.artifacts), (MODEL, run.model_files), (TABLES, tables)):
            if files:
                with tempfile.TemporaryDirectory() as directory:
                    write_files(Path(directory), files)
                    client.log_artifacts(run_id, directory, artifact_path=folder)
        _announce_tables(client, run_id, tables)
        if not run.joins:
            register(uri, run_id, run)
    except Exception as error:
        if getattr(error, "error_code", None) in REJECTIONS:
            raise RejectedRun(str(error)) from error
        raise


def _batches(run: TrackedRun) -> list[list[Any]]:
    """All metrics in batches that MLflow accepts, at least one; the same ones at a repeated attempt."""
    from mlflow.entities import Metric

    metrics = [Metric(name, float(value), run.logged_at, 0) for name, value in run.metrics.items()]
    metrics += [Metric(name, value, when, step) for name, points in run.history.items() for step, value, when in points]
    return [metrics[start : start + MAX_METRICS] for start in range(0, max(len(metrics), 1), MAX_METRICS)]


def _table_document(table: EvaluationTable) -> bytes:
    """A table as MLflow stores it. `mlflow.log_table` would append the rows again at a repeated attempt."""
    columns = [
        [None if isinstance(value, float) and not math.isfinite(value) else value for value in values]
        for values in table.values()
    ]
    rows = [list(row) for row in zip(*columns, strict=True)]
    return json.dumps({"columns": list(table), "data": rows}).encode()


def _announce_tables(client: Any, run_id: str, files: Mapping[str, bytes]) -> None:
    """Tag the run with its tables, as MLflow does: its pages show them as tables, and compare those of runs."""
    known = json.loads(client.get_run(run_id).data.tags.get(TABLES_TAG, "[]")) if files else []
    named = [{"path": f"{TABLES}/{name}", "type": "table"} for name in files]
    added = [entry for entry in named if entry not in known]
    if added:
        client.set_tag(run_id, TABLES_TAG, json.dumps([*known, *added]))


def _dataset(name: str, digest: str) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = json.dumps({"sha256": digest})
    tag = InputTag("mlflow.data.context", "training")
    return DatasetInput(Dataset(name, digest[:MAX_DIGEST], "sha256", source), [tag])


def mark_failed(uri: str, run_id: str) -> None:
    """End an MLflow run as FAILED, if the tracker still responds."""
    import mlflow

    with suppress(Exception):  # the earlier error is raised
        mlflow.MlflowClient(tracking_uri=uri).set_terminated(run_id, "FAILED")


def log_alone(uri: str, run: TrackedRun) -> str:
    """Log a run outside of any training. Returns its MLflow id.

    It goes into the run that it joins, else into the one with its key, else into a new one. A failed attempt
    leaves it as FAILED; the next attempt finds and completes it. Raises as `log_run`.
    """
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment_id = client.get_experiment_by_name(run.experiment).experiment_id
    if run.joins:
        same = f"tags.{VERSION_TAG} = '{run.tags[VERSION_TAG]}'"
        found = client.search_runs([experiment_id], same, order_by=["attributes.start_time DESC"], max_results=1)
        if found:
            log_run(uri, found[0].info.run_id, run)
            return str(found[0].info.run_id)
    if run.parent:
        above = client.search_runs([experiment_id], f"tags.{KEY_TAG} = '{run.parent}'", max_results=1)
        if above:
            run = replace(run, tags={**run.tags, PARENT_TAG: above[0].info.run_id})
    run_id = find_or_create_run(uri, experiment_id, run)
    try:
        log_run(uri, run_id, run)
    except Exception:
        mark_failed(uri, run_id)
        raise
    client.set_terminated(run_id, run.status)
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
        folder = MODEL if run.model_files else "bundle"
        source = f"{client.get_run(run_id).info.artifact_uri}/{folder}"
        card = run.artifacts.get(CARD_FILE, b"").decode()[:MAX_DESCRIPTION]
        created = client.create_model_version(
            run.experiment, source, run_id, tags={VERSION_TAG: version}, description=card or None
        )
        number = str(created.version)
    client.set_registered_model_alias(run.experiment, CHALLENGER, number)


def registered_number(client: Any, model: str, version: str) -> str | None:
    """MLflow's number of a bundle version, None where it is not registered."""
    found = client.search_model_versions(f"name = '{model}'")
    return next((str(entry.version) for entry in found if entry.tags.get(VERSION_TAG) == version), None)


def move_aliases(uri: str, model: str, champion: str, previous: str | None) -> dict[str, str]:
    """Set the registry's aliases to the pointer's versions; aliases of versions that are not registered are deleted.
    The model card of the champion becomes the description of the registered model.

    Returns alias → MLflow's version number.
    """
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=uri)
    aliases = {}
    for alias, version in ((CHAMPION, champion), (PREVIOUS, previous)):
        number = registered_number(client, model, version) if version else None
        if number is not None:
            client.set_registered_model_alias(model, alias, number)
            aliases[alias] = number
        elif client.search_registered_models(f"name = '{model}'"):
            client.delete_registered_model_alias(model, alias)
    if CHAMPION in aliases:
        card = client.get_model_version(model, aliases[CHAMPION]).description
        client.update_registered_model(model, card)
    return aliases
