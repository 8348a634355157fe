"""The loop's sensors: no report is missed, an episode leads to one run, requests end as their runs."""

import dagster as dg
import pytest
import yaml

from accident_reco.defs import retrain_sensors
from accident_reco.defs.dagster_internals import WILL_RETRY_TAG
from accident_reco.defs.resources import Platform
from accident_reco.defs.tags import REQUEST_TAG
from accident_reco.drift.triggers import DRIFT_ALERTS
from accident_reco.storage import alerts, drift_reports, notifications, retrain_decisions
from accident_reco.storage.lifecycle import record_promotion
from accident_reco.storage.work_requests import open_requests, request_training, request_work, work_request
from accident_reco_tests.support.running import ROOT
from accident_reco_tests.support.small_loop import build_loop_definitions, report, tick, traffic


def test_every_report_is_evaluated_once_and_an_episode_leads_to_one_run(definitions, instance, platform) -> None:
    """Three reports with drift between two ticks: three decisions, one queued request, one run."""
    for seed in (2, 3, 4):
        traffic(platform, shift=1, seed=seed)
        assert report(definitions, instance).success
    result = tick(definitions, instance, "drift_reports")
    assert [row["rule"] for row in reversed(retrain_decisions.decisions(platform.warehouse, "accidents"))] == [
        "hysteresis",
        "trigger",
        "single_flight",
    ]
    assert result.skip_message.count("report") >= 3
    again = tick(definitions, instance, "drift_reports", result.cursor)
    assert again.skip_message == "no new report"
    # A daemon that died before it stored the cursor repeats the tick without effect.
    tick(definitions, instance, "drift_reports")
    assert len(open_requests(platform.warehouse, "training")) == 1
    starts = [tick(definitions, instance, "accidents_training_requests").run_requests for _ in range(2)]
    keys = {request.run_key for requests in starts for request in requests}
    (request,) = open_requests(platform.warehouse, "training")
    assert keys == {f"training:{request['id']}"}
    assert tick(definitions, instance, "movies_training_requests").skip_message == "no training is requested"


def test_stable_traffic_has_no_effect(definitions, instance, platform) -> None:
    """Stable reports lead to no decision and no request."""
    for seed in (2, 3):
        traffic(platform, shift=0, seed=seed)
        report(definitions, instance)
    result = tick(definitions, instance, "drift_reports")
    assert "stable, no drift trigger" in result.skip_message
    assert retrain_decisions.decisions(platform.warehouse, "accidents") == []
    assert open_requests(platform.warehouse, "training") == []


def run_for(instance, request_id: str, status: dg.DagsterRunStatus) -> str:
    run = instance.create_run_for_job(
        dg.GraphDefinition(name="train_accidents").to_job(),
        tags={REQUEST_TAG: request_id},
        status=status,
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
def test_request_ends_as_its_run(definitions, instance, platform, status, promoted, expected, outcome) -> None:
    """The request has the run's outcome and the gate's reason, and the next one may start."""
    request, _ = request_work(
        platform.warehouse, kind="training", model="accidents", source="api", requested_by="ada", reason="please"
    )
    assert tick(definitions, instance, "accidents_training_requests").run_requests[0].tags[REQUEST_TAG]
    run_id = run_for(instance, request["id"], dg.DagsterRunStatus.STARTED)
    assert "running in" in tick(definitions, instance, "accidents_training_requests").skip_message
    running = work_request(platform.warehouse, request["id"])
    assert running is not None
    assert (running["status"], running["run_id"]) == ("running", run_id)
    if promoted is not None:
        record_promotion(
            platform.warehouse,
            model="accidents",
            version="v",
            previous=None,
            action="promote",
            promoted=promoted,
            reason=outcome,
            detail={},
            run_id=run_id,
        )
    instance.delete_run(run_id)
    finished = instance.create_run_for_job(
        dg.GraphDefinition(name="train_accidents").to_job(),
        run_id=run_id,
        status=status,
        tags={REQUEST_TAG: request["id"]},
    )
    assert finished.run_id == run_id
    tick(definitions, instance, "accidents_training_requests")
    ended = work_request(platform.warehouse, request["id"])
    assert ended is not None
    assert ended["status"] == expected
    assert outcome in ended["outcome"]


@pytest.mark.parametrize(
    ("tags", "retries", "status"),
    [
        ({WILL_RETRY_TAG: "true"}, True, "running"),
        ({}, True, "running"),  # the daemon has not decided yet
        ({WILL_RETRY_TAG: "false"}, True, "failed"),
        ({}, False, "failed"),
    ],
)
def test_a_request_has_not_failed_while_its_run_is_retried(
    definitions, instance, platform, monkeypatch, tags, retries, status
) -> None:
    """Killed with the platform: until the retry starts the newest run has failed, the request has not."""
    monkeypatch.setattr(type(instance), "run_retries_enabled", retries)
    request, _ = request_training(platform.warehouse, "accidents", "ada", "please")
    run_id = run_for(instance, request["id"], dg.DagsterRunStatus.STARTED)
    instance.report_run_failed(instance.get_run_by_id(run_id))
    instance.add_run_tags(run_id, {name: tags.get(name, "") for name in (WILL_RETRY_TAG,)} if tags else {})
    if not tags:
        monkeypatch.setattr(retrain_sensors, "WILL_RETRY_TAG", "absent")
    tick(definitions, instance, "accidents_training_requests")
    found = work_request(platform.warehouse, request["id"])
    assert found is not None
    assert found["status"] == status
    if status == "failed":
        return
    # The retry has the tags of the run, and the request ends as the retry.
    retry = run_for(instance, request["id"], dg.DagsterRunStatus.STARTED)
    tick(definitions, instance, "accidents_training_requests")
    instance.report_dagster_event(dg.DagsterEvent("PIPELINE_SUCCESS", "train_accidents"), run_id=retry)
    tick(definitions, instance, "accidents_training_requests")
    found = work_request(platform.warehouse, request["id"])
    assert found is not None
    assert (found["status"], found["run_id"]) == ("done", retry)


def test_a_retry_that_never_starts_fails_the_request(definitions, instance, platform, monkeypatch) -> None:
    """The daemon is away or cannot start it: after ten minutes the request has failed."""
    request, _ = request_training(platform.warehouse, "accidents", "ada", "please")
    run_id = run_for(instance, request["id"], dg.DagsterRunStatus.STARTED)
    instance.report_run_failed(instance.get_run_by_id(run_id))
    instance.add_run_tags(run_id, {WILL_RETRY_TAG: "true"})
    tick(definitions, instance, "accidents_training_requests")
    assert open_requests(platform.warehouse, "training")
    monkeypatch.setattr(retrain_sensors, "RETRY_SECONDS", 0.0)
    tick(definitions, instance, "accidents_training_requests")
    ended = work_request(platform.warehouse, request["id"])
    assert ended is not None
    assert ended["status"] == "failed"


def test_one_training_at_a_time(definitions, instance, platform) -> None:
    """A second user's request waits while the first one's run is in progress."""
    first, _ = request_work(
        platform.warehouse, kind="training", model="accidents", source="api", requested_by="a", reason="r"
    )
    request_work(platform.warehouse, kind="training", model="accidents", source="api", requested_by="b", reason="r")
    run_for(instance, first["id"], dg.DagsterRunStatus.STARTED)
    assert not tick(definitions, instance, "accidents_training_requests").run_requests
    assert len(open_requests(platform.warehouse, "training")) == 2


def test_manual_run_holds_requests_back(definitions, instance, platform) -> None:
    """A run was started in the UI: the request waits, with the reason."""
    request_work(platform.warehouse, kind="training", model="accidents", source="api", requested_by="a", reason="r")
    instance.create_run_for_job(dg.GraphDefinition(name="train_accidents").to_job(), status=dg.DagsterRunStatus.STARTED)
    assert "started manually, is in progress" in tick(definitions, instance, "accidents_training_requests").skip_message


def test_policy_applies_to_alerts(definitions, instance, platform, monkeypatch) -> None:
    """With retraining off an alert's request is closed with the policy's reason; with it on, it starts."""
    request, _ = request_work(
        platform.warehouse, kind="training", model="accidents", source="alert", requested_by="am", reason="Drift fires"
    )
    monkeypatch.setenv("ACCIDENT_RECO_RETRAIN_MODE", "off")
    tick(build_loop_definitions(Platform(home=platform.home)), instance, "accidents_training_requests")
    closed = work_request(platform.warehouse, request["id"])
    assert closed is not None
    assert (closed["status"], closed["outcome"]) == ("held", "automatic retraining is off")
    monkeypatch.setenv("ACCIDENT_RECO_RETRAIN_MODE", "auto")
    request_work(
        platform.warehouse, kind="training", model="accidents", source="alert", requested_by="am", reason="Drift fires"
    )
    assert len(tick(definitions, instance, "accidents_training_requests").run_requests) == 1


def store_alert(platform: Platform, name: str) -> str:
    """Store a request as the webhook does when an alert fires; returns its id."""
    request, _ = request_work(
        platform.warehouse,
        kind="training",
        model="accidents",
        source="alert",
        requested_by="alertmanager",
        reason=f"{name} fires",
        detail={"labels": {"alertname": name}},
    )
    row = {"id": name, "model": "accidents", "name": name, "summary": "", "request_id": request["id"]}
    alerts.save_alert(platform.warehouse, row)
    return str(request["id"])


def test_drift_alert_needs_as_many_windows_as_a_report(definitions, instance, platform) -> None:
    """One window with drift is not enough for the alert either; the second starts the training."""
    traffic(platform, shift=1, seed=2)
    report(definitions, instance)
    first = store_alert(platform, "DatasetDrift")
    result = tick(definitions, instance, "accidents_training_requests")
    assert "1 of the last 1 windows drifted, 2 of 3 are needed" in result.skip_message
    closed = work_request(platform.warehouse, first)
    assert closed is not None
    assert closed["status"] == "held"
    traffic(platform, shift=1, seed=3)
    report(definitions, instance)
    second, _ = request_work(
        platform.warehouse,
        kind="training",
        model="accidents",
        source="alert",
        requested_by="alertmanager",
        reason="DatasetDrift fires",
        detail={"labels": {"alertname": "DatasetDrift"}},
    )
    (run,) = tick(definitions, instance, "accidents_training_requests").run_requests
    assert run.run_key == f"training:{second['id']}"


def test_alert_of_other_evidence_needs_no_windows(definitions, instance, platform) -> None:
    """Dropped performance joined the request of the drift alert: no window with drift is needed."""
    request_id = store_alert(platform, "DatasetDrift")
    row = {
        "id": "other",
        "model": "accidents",
        "name": "LivePerformanceDropped",
        "summary": "",
        "request_id": request_id,
    }
    alerts.save_alert(platform.warehouse, row)
    (run,) = tick(definitions, instance, "accidents_training_requests").run_requests
    assert run.run_key == f"training:{request_id}"


def test_rules_have_the_drift_alerts() -> None:
    """A renamed rule would bypass the hysteresis."""
    rules = yaml.safe_load((ROOT / "deploy/prometheus/rules/alerts.yml").read_text())
    names = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    assert names >= DRIFT_ALERTS


def test_suggestions_notify_and_start_nothing(definitions, instance, platform, monkeypatch) -> None:
    """In the mode `suggest` the second report with drift becomes a notification."""
    for seed in (2, 3):
        traffic(platform, shift=1, seed=seed)
        report(definitions, instance)
    monkeypatch.setenv("ACCIDENT_RECO_RETRAIN_MODE", "suggest")
    result = tick(build_loop_definitions(Platform(home=platform.home)), instance, "drift_reports")
    assert "suggest, training is suggested: 2 of 3 features drifted" in result.skip_message
    assert open_requests(platform.warehouse, "training") == []
    row = drift_reports.latest_report(platform.warehouse, "accidents")
    assert row is not None
    assert not notifications.create_notification(platform.warehouse, "suggestion", row["id"], "notified already")
