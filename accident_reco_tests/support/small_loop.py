"""A home whose accident champion has a known reference profile, and the loop's definitions.

The training jobs are no-ops: only their names and their outcomes matter to the loop.
"""

from datetime import UTC, datetime, timedelta

import dagster as dg
import numpy as np

from accident_reco.defs import drift_report, retrain_sensors, rollback
from accident_reco.defs.resources import Platform
from accident_reco.lifecycle.bundle import Bundle
from accident_reco.lifecycle.reference import build_reference, reference_bytes
from accident_reco.registry import models
from accident_reco.settings import Settings
from accident_reco.storage.prediction_log import insert_predictions

ROWS = 900


def road_users(rng: np.random.Generator, rows: int, shift: int) -> dict[str, np.ndarray]:
    return {
        "hrmn": rng.integers(0, 24, rows) * 100,
        "vma": rng.choice([30, 50, 80], rows) + 30 * shift,
        "catu": rng.choice([1, 2, 3], rows, p=[0.2, 0.2, 0.6] if shift else [0.7, 0.2, 0.1]),
    }


def promote(platform: Platform, seed: int, shift: int = 0) -> str:
    rng = np.random.default_rng(seed)
    kinds = {"hrmn": "numeric", "vma": "numeric", "catu": "categorical"}
    profile = build_reference(road_users(rng, 4_000, shift), kinds, model="accidents", data_source="sample")
    bundle = Bundle(
        "accidents",
        {"reference.json": reference_bytes(profile)},
        {"seed": seed},
        {"roc_auc": 0.8},
        {"data_source": "sample", "sources": []},
    )
    manifest = platform.models.write(bundle)
    platform.models.point(manifest, expected=platform.models.pointer("accidents"), run_id="test", reason="test")
    return manifest.version


def traffic(platform: Platform, shift: int, seed: int = 2, version: str = "v") -> None:
    """Insert rows of the prediction log that are newer than all others."""
    rng = np.random.default_rng(seed)
    columns = road_users(rng, ROWS, shift)
    at, score = datetime.now(UTC), rng.random(ROWS)
    insert_predictions(
        platform.warehouse,
        [
            {
                "id": f"{seed}-{i}-{shift}",
                "request_id": f"{seed}-{i}",
                "at": at - timedelta(milliseconds=i),
                "model": "accidents",
                "version": version,
                "user_name": None,
                "source": "json",
                "status": 200,
                "score": float(score[i]),
                "answer": {},
                "latency_ms": 1.0,
                "inputs": {name: int(values[i]) for name, values in columns.items()},
            }
            for i in range(ROWS)
        ],
    )


@dg.op
def nothing() -> None:
    """No training."""


def idle_training(model: str) -> dg.JobDefinition:
    """A no-op training job."""
    name = f"train_{model}"
    return dg.JobDefinition(name=name, graph_def=dg.GraphDefinition(name=name, node_defs=[nothing]))


def build_loop_definitions(platform: Platform) -> dg.Definitions:
    """The loop's definitions with no-op training jobs."""
    settings = Settings.load(home=platform.home)
    return dg.Definitions.merge(
        *(drift_report.drift_definitions(model, settings) for model in models(settings).values()),
        retrain_sensors.definitions(settings.model_names, settings),
        rollback.definitions(settings.model_names, settings),
        dg.Definitions(
            jobs=[idle_training(model) for model in ("accidents", "movies")], resources={"platform": platform}
        ),
    )


def report(definitions, instance, config=None) -> dg.ExecuteInProcessResult:
    asset = definitions.get_assets_def(dg.AssetKey(["accidents", "drift_report"]))
    run_config = {"ops": {"accidents__drift_report": {"config": config}}} if config else None
    return dg.materialize(
        [asset], instance=instance, resources=definitions.resources, run_config=run_config, raise_on_error=False
    )


def tick(definitions, instance, name: str, cursor: str | None = None):
    """One tick of a sensor, as the daemon evaluates it."""
    repository = definitions.get_repository_def()
    with dg.build_sensor_context(
        instance=instance, cursor=cursor, repository_def=repository, resources=definitions.resources
    ) as context:
        return repository.get_sensor_def(name).evaluate_tick(context)
