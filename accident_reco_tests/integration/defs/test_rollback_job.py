"""Rollback through Dagster: pointer, record, blocked version; and rollbacks by API or command line."""

import dagster as dg
import mlflow
import pytest
from sqlalchemy import text

from accident_reco.defs.resources import Platform
from accident_reco.defs.tags import REQUEST_TAG, USER_TAG
from accident_reco.lifecycle.gate import Decision
from accident_reco.lifecycle.intents import MoveInterrupted, move
from accident_reco.lifecycle.rollback import roll_back
from accident_reco.lifecycle.tracking import VERSION_TAG, TrackedRun, log_alone, move_aliases, prepare_experiment
from accident_reco.storage.lifecycle import decision_of_run, promotion_history, rolled_back_versions
from accident_reco.storage.model_metrics import has_metrics
from accident_reco.storage.work_requests import consecutive_rejections, request_work, work_request
from accident_reco_tests.support.promotion import promote_candidate, request_rollback
from accident_reco_tests.support.small_loop import tick
from serving.guard import user_tag as guard_tag

pytestmark = [
    # MLflow uses deprecated functions of SQLAlchemy.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def test_rollback_job_moves_the_pointer_and_blocks_the_version(definitions, instance, platform) -> None:
    """By request: job, materialization, audit; and the gate does not promote the version that was rolled back."""
    first, second = promote_candidate(platform, 11), promote_candidate(platform, 12)
    requested = request_rollback(platform.warehouse, version=None)
    (request,) = tick(definitions, instance, "rollbacks").run_requests
    assert request.run_key == f"rollback:{requested['id']}"
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
    ended = work_request(platform.warehouse, requested["id"])
    assert ended is not None
    assert ended["status"] == "done"
    assert promote_candidate(platform, 12) == second
    still = platform.models.pointer("accidents")
    assert still is not None
    assert still.version == first, "the version that was rolled back was promoted again"


def test_external_rollbacks_are_recorded(definitions, instance, platform) -> None:
    """The command line moved the pointer without Dagster: one run updates history and MLflow's aliases."""
    versions = [promote_candidate(platform, 11), promote_candidate(platform, 12)]
    uri = platform.settings.tracking_uri
    prepare_experiment(uri, "accidents", platform.settings.home / "mlartifacts")
    for version in versions:
        log_alone(uri, TrackedRun("accidents", version, {}, {}, {VERSION_TAG: version}))
    first, second = versions
    move_aliases(uri, "accidents", second, first)
    roll_back(platform.models, platform.warehouse, "accidents", version=None, requested_by="ada", run_id="cli")

    result = tick(definitions, instance, "rollbacks_elsewhere")
    (request,) = result.run_requests
    assert request.run_key == f"rolled-back:{promotion_history(platform.warehouse, 'accidents')[0]['id']}"
    job = definitions.get_repository_def().get_job("rolled_back_elsewhere")
    assert job.execute_in_process(instance=instance, run_config=request.run_config).success
    assert tick(definitions, instance, "rollbacks_elsewhere", result.cursor).run_requests == []

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
    tracked = registry.get_run(registry.get_model_version_by_alias("accidents", "champion").run_id)
    assert tracked.data.tags["gate.reason"] == event.asset_materialization.description


@pytest.mark.parametrize(
    ("page_login", "tags", "recorded"),
    [(True, {USER_TAG: "ada"}, "ada (dagster)"), (True, {}, "dagster"), (False, {USER_TAG: "admin"}, "dagster")],
)
def test_who_rolled_back_in_dagster(definitions, instance, platform, monkeypatch, page_login, tags, recorded) -> None:
    """The account that the guard recorded; without a login nobody vouches for a tag, and no text can be given."""
    assert USER_TAG == guard_tag.USER_TAG
    monkeypatch.setenv("ACCIDENT_RECO_PAGE_LOGIN", str(page_login))
    first, second = promote_candidate(platform, 11), promote_candidate(platform, 12)
    job = definitions.get_repository_def().get_job("rollback_model")
    config = {"ops": {"roll_back_pointer": {"config": {"model": "accidents"}}}}
    assert job.execute_in_process(instance=instance, run_config=config, tags=tags).success
    pointer = platform.models.pointer("accidents")
    assert pointer is not None
    assert pointer.reason == f"rolled back from {second} to {first} by {recorded}"
    claimed = {"ops": {"roll_back_pointer": {"config": {"model": "accidents", "asked_by": "admin"}}}}
    with pytest.raises(dg.DagsterInvalidConfigError):
        job.execute_in_process(instance=instance, run_config=claimed)


def test_a_run_does_what_its_request_says(definitions, instance, platform) -> None:
    """Another person's request cannot be attached to a rollback of another version."""
    first, second = promote_candidate(platform, 11), promote_candidate(platform, 12)
    requested = request_rollback(platform.warehouse, version=second)
    job = definitions.get_repository_def().get_job("rollback_model")
    config = {"ops": {"roll_back_pointer": {"config": {"model": "accidents", "version": first}}}}
    tags = {"accident_reco/request_id": requested["id"]}
    assert not job.execute_in_process(instance=instance, run_config=config, tags=tags, raise_on_error=False).success
    pointer = platform.models.pointer("accidents")
    assert pointer is not None
    assert pointer.version == second


def test_rollback_to_an_unknown_version_fails(definitions, instance, platform) -> None:
    """A version that is not in the store fails the run with the reason; the pointer does not move."""
    before = promote_candidate(platform, 11)
    job = definitions.get_repository_def().get_job("rollback_model")
    config = {"ops": {"roll_back_pointer": {"config": {"model": "accidents", "version": "0" * 16}}}}
    result = job.execute_in_process(instance=instance, run_config=config, raise_on_error=False)
    assert not result.success
    pointer = platform.models.pointer("accidents")
    assert pointer is not None
    assert pointer.version == before


def move_without_audit(platform: Platform, version: str, run_id: str, action: str = "rollback") -> None:
    """Move the pointer as a process that is killed before the audit: the intent stays open."""
    expected = platform.models.pointer("accidents")
    assert expected is not None
    decision = Decision(True, f"{action} of {version}", {})
    manifest = platform.models.manifest("accidents", version)
    with platform.warehouse.begin() as connection:
        connection.execute(
            text("CREATE TRIGGER full BEFORE INSERT ON promotions BEGIN SELECT RAISE(ABORT, 'full'); END")
        )
    with pytest.raises(MoveInterrupted):
        move(
            platform.models,
            platform.warehouse,
            manifest,
            action=action,
            expected=expected,
            decision=decision,
            run_id=run_id,
            requested_by="ada",
        )
    with platform.warehouse.begin() as connection:
        connection.execute(text("DROP TRIGGER full"))


def test_interrupted_rollback_of_the_api_is_closed_without_a_run(definitions, instance, platform) -> None:
    """The service was killed after the pointer moved: the tick audits the move and closes the request."""
    first, second = promote_candidate(platform, 11), promote_candidate(platform, 12)
    requested = request_rollback(platform.warehouse, version=first)
    move_without_audit(platform, first, f"api:{requested['id']}")
    assert not tick(definitions, instance, "rollbacks").run_requests
    ended = work_request(platform.warehouse, requested["id"])
    assert ended is not None
    assert ended["status"] == "done"
    assert rolled_back_versions(platform.warehouse, "accidents") == [second]


def test_failed_rollback_is_retried_up_to_the_limit(definitions, instance, platform) -> None:
    """A run that was lost leaves its request open: another one starts, with its own run key, three at most."""
    promote_candidate(platform, 11)
    promote_candidate(platform, 12)
    requested = request_rollback(platform.warehouse)
    keys = []
    while requests := tick(definitions, instance, "rollbacks").run_requests:
        keys += [request.run_key for request in requests]
        instance.create_run_for_job(
            dg.GraphDefinition(name="rollback_model").to_job(),
            status=dg.DagsterRunStatus.FAILURE,
            tags=requests[0].tags,
        )
    assert keys == [f"rollback:{requested['id']}{attempt}" for attempt in ("", ":1", ":2")]
    ended = work_request(platform.warehouse, requested["id"])
    assert ended is not None
    assert (ended["status"], ended["outcome"].split(",")[0]) == ("failed", "3 runs failed")


def test_interrupted_promotion_is_recorded_once_its_run_has_ended(definitions, instance, platform) -> None:
    """Audited by the first tick; recorded for history and MLflow when the run can no longer do so itself."""
    first, second = promote_candidate(platform, 11), promote_candidate(platform, 12)
    started = instance.create_run_for_job(
        dg.GraphDefinition(name="train_accidents").to_job(), status=dg.DagsterRunStatus.STARTED
    )
    move_without_audit(platform, first, started.run_id, "promote")
    result = tick(definitions, instance, "rollbacks_elsewhere")
    assert not result.run_requests
    row = promotion_history(platform.warehouse, "accidents")[0]
    assert (row["action"], row["promoted"], row["previous"], row["run_id"]) == (
        "promote",
        True,
        second,
        started.run_id,
    )
    assert has_metrics(platform.warehouse, "accidents", first)
    roll_back(platform.models, platform.warehouse, "accidents", version=second, requested_by="ada", run_id="cli")
    result = tick(definitions, instance, "rollbacks_elsewhere", result.cursor)
    newer = promotion_history(platform.warehouse, "accidents")[0]["id"]
    assert [request.run_key for request in result.run_requests] == [f"rolled-back:{newer}"]

    instance.delete_run(started.run_id)
    instance.create_run_for_job(
        dg.GraphDefinition(name="train_accidents").to_job(), run_id=started.run_id, status=dg.DagsterRunStatus.FAILURE
    )
    result = tick(definitions, instance, "rollbacks_elsewhere", result.cursor)
    keys = [request.run_key for request in result.run_requests]
    assert keys == [f"rolled-back:{row['id']}", f"rolled-back:{newer}"], (
        "the newer one's key keeps it from a second run"
    )
    job = definitions.get_repository_def().get_job("rolled_back_elsewhere")
    assert job.execute_in_process(instance=instance, run_config=result.run_requests[0].run_config).success
    event = instance.get_latest_materialization_event(dg.AssetKey(["accidents", "production_model"]))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["rollback"].value is False
    assert tick(definitions, instance, "rollbacks_elsewhere", result.cursor).run_requests == []


@pytest.mark.parametrize("is_retried", [False, True])
def test_training_request_with_an_interrupted_promotion_ends_as_promoted(
    definitions, instance, platform, is_retried
) -> None:
    """The audit row is made good before the request is closed; a retry of the run does not turn it into a refusal."""
    first = promote_candidate(platform, 11)
    promote_candidate(platform, 12)
    requested, _ = request_work(
        platform.warehouse, kind="training", model="accidents", source="drift", requested_by="policy", reason="drift"
    )
    tags = {REQUEST_TAG: requested["id"]}
    job = dg.GraphDefinition(name="train_accidents").to_job()
    killed = instance.create_run_for_job(job, status=dg.DagsterRunStatus.FAILURE, tags=tags)
    move_without_audit(platform, first, killed.run_id, "promote")
    if is_retried:
        retried = instance.create_run_for_job(job, status=dg.DagsterRunStatus.SUCCESS, tags=tags)
        assert promote_candidate(platform, 11, run_id=retried.run_id) == first
        assert decision_of_run(platform.warehouse, retried.run_id)[0] is False
    tick(definitions, instance, "accidents_training_requests")
    ended = work_request(platform.warehouse, requested["id"])
    assert ended is not None
    assert (ended["status"], ended["outcome"]) == ("promoted", f"promote of {first}")
    assert consecutive_rejections(platform.warehouse, "accidents") == (0, None)


def test_a_queued_rollback_replaces_no_version_that_was_promoted_meanwhile(definitions, instance, platform) -> None:
    """Requested while the store was away: it must not block a champion that its user has never seen."""
    first, second = promote_candidate(platform, 11), promote_candidate(platform, 12)
    requested = request_rollback(platform.warehouse, version=first, replaces=second)
    third = promote_candidate(platform, 13)
    (request,) = tick(definitions, instance, "rollbacks").run_requests
    job = definitions.get_repository_def().get_job("rollback_model")
    result = job.execute_in_process(
        instance=instance, run_config=request.run_config, tags=request.tags, raise_on_error=False
    )
    assert not result.success
    ended = work_request(platform.warehouse, requested["id"])
    assert ended is not None
    assert (ended["status"], ended["outcome"]) == (
        "refused",
        f"superseded: the champion moved from {second} to {third} before {first} could serve",
    )
    assert platform.models.pointer("accidents").version == third
    assert rolled_back_versions(platform.warehouse, "accidents") == []
