"""Rollback through Dagster: the pointer, the record, the bar; and the rollbacks that came another way."""

import dagster as dg

from accident_reco.defs.resources import Platform
from accident_reco.lifecycle.bundle import Bundle
from accident_reco.lifecycle.gate import Comparison, GatePolicy, Interval
from accident_reco.lifecycle.promotion import promote as promote_by_gate
from accident_reco.lifecycle.rollback import roll_back
from accident_reco.storage.lifecycle import request_work, work_request
from accident_reco_tests.defs.small_loop import tick


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
    ended = work_request(platform.warehouse, asked["id"])
    assert ended is not None
    assert ended["status"] == "done"
    assert judged(platform, 12) == second
    still = platform.models.pointer("accidents")
    assert still is not None
    assert still.version == first, "the version that a person rolled back was promoted again"


def test_rollbacks_of_other_ways_enter_the_history(definitions, instance, platform) -> None:
    """The command line moved the pointer without Dagster: the sensor records it once."""
    first = judged(platform, 11)
    judged(platform, 12)
    roll_back(platform.models, platform.warehouse, "accidents", version=None, asked_by="ada", run_id="cli")
    looked = tick(definitions, instance, "rollbacks")
    assert f"to {first} by ada" in looked.skip_message
    key = dg.AssetKey(["accidents", "production_model"])
    event = instance.get_latest_materialization_event(key)
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["serving"].value == first
    assert tick(definitions, instance, "rollbacks", looked.cursor).skip_message == "no rollback"


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
