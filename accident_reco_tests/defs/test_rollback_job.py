"""Rollback through Dagster: the pointer, the record, the bar; and the rollbacks that came another way."""

import dagster as dg
import mlflow
import pytest

from accident_reco.defs.resources import Platform
from accident_reco.lifecycle.bundle import Bundle
from accident_reco.lifecycle.gate import Comparison, GatePolicy, Interval
from accident_reco.lifecycle.promotion import promote as promote_by_gate
from accident_reco.lifecycle.rollback import roll_back
from accident_reco.lifecycle.tracking import VERSION_TAG, TrackedRun, log_alone, move_aliases, prepare_experiment
from accident_reco.storage.lifecycle import promotion_history, request_work, work_request
from accident_reco_tests.defs.small_loop import tick

pytestmark = [
    # MLflow and SQLAlchemy talk to each other in their own deprecated ways.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def judged(platform: Platform, seed: int, shift: int = 0) -> str:
    """Promote a version the way the gate does, with its policy on record."""
    policy = GatePolicy("roc_auc", True, 0.7, 0.0)
    candidate = Bundle(
        "accidents", {"reference.json": b"{}"}, {"seed": seed}, {"roc_auc": 0.8}, {"data_source": "sample"}
    )

    def better(_manifest: object, _files: object) -> Comparison:
        return Comparison(1_000, 500, Interval(0.01, 0.005, 0.02))

    return promote_by_gate(platform.models, platform.warehouse, candidate, better, policy, f"run-{seed}").version


def test_rollback_job_moves_the_pointer_and_bars_the_version(definitions, instance, platform) -> None:
    """By request: job, materialization, audit; and the gate refuses to let the version left behind serve again."""
    first, second = judged(platform, 11), judged(platform, 12)
    asked, _ = request_work(
        platform.warehouse, kind="rollback", model="accidents", source="api", requested_by="ada", reason="bad",
        detail={"version": None},
    )  # fmt: skip
    (request,) = tick(definitions, instance, "rollbacks").run_requests
    assert request.run_key == f"rollback:{asked['id']}"
    job = definitions.get_repository_def().get_job("rollback_model")
    done = job.execute_in_process(instance=instance, run_config=request.run_config, tags=request.tags)
    assert done.success
    pointer = platform.models.pointer("accidents")
    assert pointer is not None
    assert pointer.version == first
    assert pointer.reason == f"rolled back from {second} to {first} by ada"
    event = instance.get_latest_materialization_event(dg.AssetKey(["accidents", "production_model"]))
    assert event is not None
    assert tick(definitions, instance, "rollbacks_elsewhere").run_requests == []
    assert tick(definitions, instance, "rollbacks").run_requests == []
    ended = work_request(platform.warehouse, asked["id"])
    assert ended is not None
    assert ended["status"] == "done"
    assert judged(platform, 12) == second
    still = platform.models.pointer("accidents")
    assert still is not None
    assert still.version == first, "the version that a person rolled back was promoted again"


def test_rollbacks_of_other_ways_are_recorded(definitions, instance, platform) -> None:
    """The command line moved the pointer without Dagster: history and MLflow's aliases follow by one run."""
    versions = [judged(platform, 11), judged(platform, 12)]
    uri = platform.settings.tracking_uri
    prepare_experiment(uri, "accidents", platform.settings.home / "mlartifacts")
    for version in versions:
        log_alone(uri, TrackedRun("accidents", version, {}, {}, {VERSION_TAG: version}))
    first, second = versions
    move_aliases(uri, "accidents", second, first)
    roll_back(platform.models, platform.warehouse, "accidents", version=None, asked_by="ada", run_id="cli")

    looked = tick(definitions, instance, "rollbacks_elsewhere")
    (request,) = looked.run_requests
    assert request.run_key == f"rolled-back:{promotion_history(platform.warehouse, 'accidents')[0]['id']}"
    job = definitions.get_repository_def().get_job("rolled_back_elsewhere")
    assert job.execute_in_process(instance=instance, run_config=request.run_config).success
    assert tick(definitions, instance, "rollbacks_elsewhere", looked.cursor).run_requests == []

    event = instance.get_latest_materialization_event(dg.AssetKey(["accidents", "production_model"]))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["serving"].value == first
    assert event.asset_materialization.description == f"rolled back from {second} to {first} by ada"
    registry = mlflow.MlflowClient(tracking_uri=uri)
    aliases = {
        alias: registry.get_model_version_by_alias("accidents", alias).tags[VERSION_TAG]
        for alias in ("champion", "previous")
    }
    assert aliases == {"champion": first, "previous": second}
    told = registry.get_run(registry.get_model_version_by_alias("accidents", "champion").run_id)
    assert told.data.tags["gate.reason"] == event.asset_materialization.description


def test_rolling_back_to_nowhere_is_one_sentence(definitions, instance, platform) -> None:
    """A version that the store lacks fails the run with the reason, and nothing moves."""
    before = judged(platform, 11)
    job = definitions.get_repository_def().get_job("rollback_model")
    config = {"ops": {"roll_back_pointer": {"config": {"model": "accidents", "version": "0" * 16}}}}
    result = job.execute_in_process(instance=instance, run_config=config, raise_on_error=False)
    assert not result.success
    pointer = platform.models.pointer("accidents")
    assert pointer is not None
    assert pointer.version == before
