"""A parameter search as it is logged to MLflow: a run for each candidate kind, its trials as child runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from accident_reco.lifecycle.tracking import TrackedRun
from accident_reco.lifecycle.training_history import number_steps
from accident_reco.models.accidents.training.parameters import KINDS
from accident_reco.models.accidents.training.tuning import FOLDS

METRIC = "roc_auc"


def describe_search(model: str, document: Mapping[str, Any], job: str, dagster_run_id: str) -> list[TrackedRun]:
    """The runs of a search, each parent before its trials; the same ones at a repeated call.

    A trial has ROC AUC by fold as a metric with steps; one that was ended early has fewer of them.

    Args:
        document: of `parameters.tune_candidates`.
        job: Dagster's.
    """
    common = {
        "data_source": str(document["data_source"]),
        "mlflow.source.type": "JOB",
        "mlflow.source.name": job,
    }
    runs = []
    for kind in KINDS:
        found, tags = document[kind], {**common, "algorithm": kind}
        name = f"{model}-search-{dagster_run_id[:8]}-{kind}"
        parent = TrackedRun(
            model,
            name,
            found["chosen"],
            {"gain": found["gain"], "trials": len(found["trials"]), "seconds": found["seconds"]},
            {**tags, "dagster_run_id": dagster_run_id, "mlflow.note.content": f"{len(found['trials'])} trials"},
            key=_identify(dagster_run_id, name),
        )
        runs.append(parent)
        for number, trial in enumerate(found["trials"]):
            scores = trial["roc_auc"]
            complete = len(scores) == FOLDS
            trial_name = f"{name}-trial-{number:02d}"
            runs.append(
                TrackedRun(
                    model,
                    trial_name,
                    trial["parameters"],
                    {f"mean_{METRIC}": float(np.mean(scores))} if complete else {},
                    {**tags, "trial": str(number), "state": "complete" if complete else "ended early"},
                    history={METRIC: number_steps(scores)},
                    key=_identify(dagster_run_id, trial_name),
                    parent=parent.key,
                )
            )
    return runs


def _identify(dagster_run_id: str, name: str) -> str:
    return hashlib.sha256(f"{dagster_run_id} {name}".encode()).hexdigest()[:32]
