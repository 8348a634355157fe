"""The loop's Dagster side: drift reports as assets, sensors that miss nothing, one run per episode."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import numpy as np
import pytest

from accident_reco.defs import drift, retrain, rollback
from accident_reco.defs.resources import Platform
from accident_reco.lifecycle.bundle import Bundle
from accident_reco.lifecycle.gate import Comparison, GatePolicy, Interval
from accident_reco.lifecycle.promotion import promote as promote_by_gate
from accident_reco.lifecycle.reference import build_reference, reference_bytes
from accident_reco.lifecycle.rollback import roll_back
from accident_reco.settings import Settings
from accident_reco.storage import drift as loop
from accident_reco.storage.inference import insert_predictions
from accident_reco.storage.lifecycle import open_requests, record_promotion, request_work, work_request

ROWS = 900


def people(rng: np.random.Generator, rows: int, shift: int) -> dict[str, np.ndarray]:
    return {
        "hrmn": rng.integers(0, 24, rows) * 100,
        "vma": rng.choice([30, 50, 80], rows) + 30 * shift,
        "catu": rng.choice([1, 2, 3], rows, p=[0.2, 0.2, 0.6] if shift else [0.7, 0.2, 0.1]),
    }


@pytest.fixture
def platform(tmp_path, monkeypatch):
    """A home with a champion of the accident model whose reference profile is known."""
    monkeypatch.setenv("ACCIDENT_RECO_RETRAIN_COOLDOWN_SECONDS", "0")
    monkeypatch.setenv("ACCIDENT_RECO_DRIFT_SAMPLE_ROWS", "100")
    made = Platform(home=str(tmp_path))
    made.warehouse.upgrade()
    promote(made, 1)
    yield made
    made.warehouse.close()


def promote(platform: Platform, seed: int, shift: int = 0) -> str:
    rng = np.random.default_rng(seed)
    kinds = {"hrmn": "numeric", "vma": "numeric", "catu": "categorical"}
    profile = build_reference(people(rng, 4_000, shift), kinds, model="accidents", data_source="sample")
    bundle = Bundle(
        "accidents", {"reference.json": reference_bytes(profile)}, {"seed": seed}, {"roc_auc": 0.8},
        {"data_source": "sample", "sources": []},
    )  # fmt: skip
    manifest = platform.models.write(bundle)
    platform.models.point(manifest, seen=platform.models.pointer("accidents"), run_id="test", reason="test")
    return manifest.version


def traffic(platform: Platform, shift: int, seed: int = 2) -> None:
    """Newer rows of the prediction log than any before."""
    rng = np.random.default_rng(seed)
    columns = people(rng, ROWS, shift)
    at = datetime.now(UTC)
    insert_predictions(platform.warehouse, [
        {
            "id": f"{seed}-{i}-{shift}", "request_id": f"{seed}-{i}", "at": at - timedelta(milliseconds=i),
            "model": "accidents", "version": "v", "source": "json", "status": 200, "score": 0.2, "answer": {},
            "latency_ms": 1.0, "inputs": {name: int(values[i]) for name, values in columns.items()},
        }
        for i in range(ROWS)
    ])  # fmt: skip


def definitions_of(platform: Platform) -> dg.Definitions:
    """The loop's definitions beside training jobs that do nothing: only their names and ends matter here."""

    @dg.op
    def train() -> None:
        """No training."""

    jobs = [
        dg.JobDefinition(name=f"train_{model}", graph_def=dg.GraphDefinition(name=f"train_{model}", node_defs=[train]))
        for model in ("accidents", "movies")
    ]
    settings = Settings.load(home=platform.home)
    return dg.Definitions.merge(
        drift.definitions(settings),
        retrain.definitions(settings),
        rollback.definitions(settings),
        dg.Definitions(jobs=jobs, resources={"platform": platform}),
    )


@pytest.fixture
def definitions(platform):
    return definitions_of(platform)


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def report(definitions, instance, config=None) -> dg.ExecuteInProcessResult:
    asset = definitions.get_assets_def(dg.AssetKey(["accidents", "drift_report"]))
    run_config = {"ops": {"accidents__drift_report": {"config": config}}} if config else None
    return dg.materialize(
        [asset], instance=instance, resources=definitions.resources, run_config=run_config, raise_on_error=False
    )


def tick(definitions, instance, name: str, cursor: str | None = None):
    """One look of a sensor, as the daemon would do it."""
    repository = definitions.get_repository_def()
    with dg.build_sensor_context(
        instance=instance, cursor=cursor, repository_def=repository, resources=definitions.resources
    ) as context:
        return repository.get_sensor_def(name).evaluate_tick(context)


def test_definitions_load(definitions) -> None:
    """Everything is loadable; schedules and sensors run from the start and say what they are for."""
    dg.Definitions.validate_loadable(definitions)
    sensors = {sensor.name: sensor for sensor in definitions.sensors}
    assert set(sensors) == {
        "drift_reports", "performance_reports", "new_data", "accidents_training_requests", "movies_training_requests",
        "failed_runs", "rollbacks",
    }  # fmt: skip
    assert all(sensor.default_status == dg.DefaultSensorStatus.RUNNING for sensor in sensors.values())
    assert all(sensor.description for sensor in sensors.values())
    for schedule in definitions.schedules:
        assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING


def test_a_report_shows_verdict_table_and_picture(definitions, instance, platform) -> None:
    """What a person sees in the asset's metadata, and what is kept: row, page, check."""
    traffic(platform, shift=1)
    result = report(definitions, instance)
    assert result.success
    metadata = result.asset_materializations_for_node("accidents__drift_report")[0].metadata
    assert metadata["verdict"].value == "drift"
    assert "2 of 3 features drifted (67%)" in metadata["reason"].value
    assert "| catu | chi2 |" in metadata["features"].value
    assert "**drifted**" in metadata["features"].value
    assert metadata["distances"].value.startswith("![distances](data:image/png;base64,")
    row = loop.latest_report(platform.warehouse, "accidents")
    assert row is not None
    assert row["id"] == metadata["report_id"].value
    page = platform.objects.read(row["report_key"])
    assert b'<section class="verdict red">' in page


def test_no_champion_is_a_failure_with_one_sentence(definitions, instance, platform) -> None:
    """Movies have no champion here: the run fails and says why."""
    asset = definitions.get_assets_def(dg.AssetKey(["movies", "drift_report"]))
    result = dg.materialize([asset], instance=instance, resources=definitions.resources, raise_on_error=False)
    assert not result.success
    (failure,) = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    assert "no movies version was promoted yet" in str(failure.event_specific_data)


def test_every_report_is_seen_once_and_one_run_comes_of_an_episode(definitions, instance, platform) -> None:
    """Three red reports between two ticks: all three are decided on, one request is queued, one run is asked for."""
    for seed in (2, 3, 4):
        traffic(platform, shift=1, seed=seed)
        assert report(definitions, instance).success
    looked = tick(definitions, instance, "drift_reports")
    assert [row["rule"] for row in reversed(loop.decisions(platform.warehouse, "accidents"))] == [
        "hysteresis", "trigger", "single_flight",
    ]  # fmt: skip
    assert looked.skip_message.count("report") >= 3
    again = tick(definitions, instance, "drift_reports", looked.cursor)
    assert again.skip_message == "no new report"
    # A daemon that died before it kept the cursor looks again, and nothing new comes of it.
    tick(definitions, instance, "drift_reports")
    assert len(open_requests(platform.warehouse, "training")) == 1
    asked = [tick(definitions, instance, "accidents_training_requests").run_requests for _ in range(2)]
    keys = {request.run_key for requests in asked for request in requests}
    (request,) = open_requests(platform.warehouse, "training")
    assert keys == {f"training:{request['id']}"}
    assert tick(definitions, instance, "movies_training_requests").skip_message == "no training is asked for"


def test_unmoved_traffic_leads_to_nothing(definitions, instance, platform) -> None:
    """Green reports are read and lead to no decision and no request."""
    for seed in (2, 3):
        traffic(platform, shift=0, seed=seed)
        report(definitions, instance)
    looked = tick(definitions, instance, "drift_reports")
    assert "stable, nothing to do for drift" in looked.skip_message
    assert loop.decisions(platform.warehouse, "accidents") == []
    assert open_requests(platform.warehouse, "training") == []


def run_for(instance, request_id: str, status: dg.DagsterRunStatus) -> str:
    run = instance.create_run_for_job(
        dg.GraphDefinition(name="train_accidents").to_job(), tags={retrain.REQUEST_TAG: request_id}, status=status
    )
    return run.run_id


@pytest.mark.parametrize(
    ("status", "promoted", "expected", "outcome"),
    [
        (dg.DagsterRunStatus.SUCCESS, True, "promoted", "gain +0.01"),
        (dg.DagsterRunStatus.SUCCESS, False, "refused", "gain below 0.002"),
        (dg.DagsterRunStatus.SUCCESS, None, "done", "the run ended without a decision"),
        (dg.DagsterRunStatus.FAILURE, None, "failed", "ended as failure"),
        (dg.DagsterRunStatus.CANCELED, None, "failed", "ended as canceled"),
    ],
)
def test_a_request_ends_as_its_run_did(definitions, instance, platform, status, promoted, expected, outcome) -> None:
    """Whatever became of the run, the request says so with the gate's reason, and the next one may start."""
    asked, _ = request_work(
        platform.warehouse, kind="training", model="accidents", source="api", requested_by="ada", reason="please"
    )
    assert tick(definitions, instance, "accidents_training_requests").run_requests[0].tags[retrain.REQUEST_TAG]
    run_id = run_for(instance, asked["id"], dg.DagsterRunStatus.STARTED)
    assert "running in" in tick(definitions, instance, "accidents_training_requests").skip_message
    running = work_request(platform.warehouse, asked["id"])
    assert running is not None
    assert (running["status"], running["run_id"]) == ("running", run_id)
    if promoted is not None:
        record_promotion(
            platform.warehouse, model="accidents", version="v", previous=None, action="promote", promoted=promoted,
            reason=outcome, detail={}, run_id=run_id,
        )  # fmt: skip
    instance.delete_run(run_id)
    finished = instance.create_run_for_job(
        dg.GraphDefinition(name="train_accidents").to_job(), run_id=run_id, status=status,
        tags={retrain.REQUEST_TAG: asked["id"]},
    )  # fmt: skip
    assert finished.run_id == run_id
    tick(definitions, instance, "accidents_training_requests")
    ended = work_request(platform.warehouse, asked["id"])
    assert ended is not None
    assert ended["status"] == expected
    assert outcome in ended["outcome"]


def test_one_training_at_a_time(definitions, instance, platform) -> None:
    """A second person's request waits while the first one's run is under way, or a run started by hand."""
    first, _ = request_work(
        platform.warehouse, kind="training", model="accidents", source="api", requested_by="a", reason="r"
    )
    request_work(platform.warehouse, kind="training", model="accidents", source="api", requested_by="b", reason="r")
    run_for(instance, first["id"], dg.DagsterRunStatus.STARTED)
    assert not tick(definitions, instance, "accidents_training_requests").run_requests
    assert len(open_requests(platform.warehouse, "training")) == 2


def test_a_run_started_by_hand_holds_requests_back(definitions, instance, platform) -> None:
    """Somebody pressed the button in the UI: the request waits, and says for what."""
    request_work(platform.warehouse, kind="training", model="accidents", source="api", requested_by="a", reason="r")
    instance.create_run_for_job(dg.GraphDefinition(name="train_accidents").to_job(), status=dg.DagsterRunStatus.STARTED)
    assert "started by hand, is under way" in tick(definitions, instance, "accidents_training_requests").skip_message


def test_alerts_ask_the_policy(definitions, instance, platform, monkeypatch) -> None:
    """With retraining off an alert's request is closed with the policy's words; with it on, it starts."""
    asked, _ = request_work(
        platform.warehouse, kind="training", model="accidents", source="alert", requested_by="am", reason="Drift fires"
    )
    monkeypatch.setenv("ACCIDENT_RECO_RETRAIN_MODE", "off")
    tick(definitions_of(Platform(home=platform.home)), instance, "accidents_training_requests")
    closed = work_request(platform.warehouse, asked["id"])
    assert closed is not None
    assert (closed["status"], closed["outcome"]) == ("done", "automatic retraining is off")
    monkeypatch.setenv("ACCIDENT_RECO_RETRAIN_MODE", "auto")
    request_work(
        platform.warehouse, kind="training", model="accidents", source="alert", requested_by="am", reason="Drift fires"
    )
    assert len(tick(definitions, instance, "accidents_training_requests").run_requests) == 1


def test_suggestions_are_told_and_start_nothing(definitions, instance, platform, monkeypatch) -> None:
    """In the mode `suggest` the second red report becomes a notification."""
    for seed in (2, 3):
        traffic(platform, shift=1, seed=seed)
        report(definitions, instance)
    monkeypatch.setenv("ACCIDENT_RECO_RETRAIN_MODE", "suggest")
    looked = tick(definitions_of(Platform(home=platform.home)), instance, "drift_reports")
    assert "suggest, training is suggested: 2 of 3 features drifted" in looked.skip_message
    assert open_requests(platform.warehouse, "training") == []
    row = loop.latest_report(platform.warehouse, "accidents")
    assert row is not None
    assert not loop.open_notification(platform.warehouse, "suggestion", row["id"], "told already")


def test_new_years_are_noticed_once(definitions, instance, platform) -> None:
    """An ingested year that the champion does not name among its sources asks for training, once."""
    looked = tick(definitions, instance, "new_data")
    assert "every ingested year is among the champion's sources" in looked.skip_message
    summary = b'{"data_source": "sample", "files": {"usagers": {"sha256": "abc"}}}'
    platform.objects.write("assets/accidents/victims/2024.json", summary)
    looked = tick(definitions, instance, "new_data")
    assert "files that the champion has not seen: 2024: train" in looked.skip_message
    (request,) = open_requests(platform.warehouse, "training")
    assert request["source"] == "data"
    assert "2024: dealt with" in tick(definitions, instance, "new_data").skip_message
    assert len(open_requests(platform.warehouse, "training")) == 1


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
