"""What a training leaves in the tracker: parameters, metrics with their histories, tables, files, the MLflow model."""

from __future__ import annotations

import json
from collections.abc import Mapping

from accident_reco.contract import Evaluated, Model
from accident_reco.lifecycle.bundle import CARD_FILE, Bundle, sha256
from accident_reco.lifecycle.tracking import VERSION_TAG, TrackedRun
from accident_reco.lifecycle.training_history import EvaluationTable, merge_histories


def describe_training(model: Model, evaluated: Evaluated, candidates: Mapping[str, Bundle], job: str) -> TrackedRun:
    """The training as it is logged to MLflow, with the histories of all candidates; `job` is Dagster's."""
    from accident_reco.mlflow_flavour.saving import save_model  # the serving half: a third of a second

    bundle = evaluated.bundle
    tags = {
        VERSION_TAG: bundle.version,
        "data_source": str(bundle.lineage["data_source"]),
        "algorithm": evaluated.kind,
        "mlflow.note.content": evaluated.choice,  # the description on the run's page
        "mlflow.source.type": "JOB",
        "mlflow.source.name": job,
        **{f"sha256.{name}": sha256(content) for name, content in bundle.files.items()},
    }
    return TrackedRun(
        model.name,
        f"{model.name}-{bundle.version}",
        evaluated.params,
        {**bundle.metrics, **evaluated.metrics},
        tags,
        {
            CARD_FILE: bundle.files[CARD_FILE],
            "signature.json": json.dumps(bundle.signature, indent=1).encode(),
            **evaluated.artifacts,
        },
        model_files=save_model(model, bundle),
        datasets={str(source["name"]): str(source["sha256"]) for source in bundle.lineage["sources"]},
        history=merge_histories({kind: one.history for kind, one in candidates.items()}),
        tables={"candidates": _tabulate(candidates), **evaluated.tables},
    )


def _tabulate(candidates: Mapping[str, Bundle]) -> EvaluationTable:
    """One row per candidate with its version and every metric; None where a candidate has not got it."""
    metrics = dict.fromkeys(name for one in candidates.values() for name in one.metrics)
    return {
        "candidate": list(candidates),
        "version": [one.version for one in candidates.values()],
        **{name: [one.metrics.get(name) for one in candidates.values()] for name in metrics},
    }
