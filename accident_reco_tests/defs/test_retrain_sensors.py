"""The loop's sensors: no report is missed, one run comes of an episode, requests end as their runs did."""

import dagster as dg
import pytest
import yaml

from accident_reco.defs.resources import Platform
from accident_reco.defs.tags import REQUEST_TAG
from accident_reco.drift.triggers import DRIFT_ALERTS
from accident_reco.storage import loop as loop
from accident_reco.storage.lifecycle import open_requests, record_promotion, request_work, work_request
from accident_reco_tests.defs.small_loop import definitions_of, report, tick, traffic
from accident_reco_tests.running import ROOT


def test_every_report_is_seen_once_and_one_run_comes_of_an_episode(definitions, instance, platform) -> None:
    """Three red reports between two ticks: all three are decided on, one request is queued, one run is asked for."""
    for seed in (2, 3, 4):
        traffic(platform, shift=1, seed=seed)
        assert report(definitions, instance).success
    looked = tick(definitions, instance, "drift_reports")
    assert [row["rule"] for row in reversed(loop.decisions(platform.warehouse, "accidents"))] == [
        "hysteresis",
        "trigger",
        "single_flight",
    ]
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
    assert tick(definitions, instance, "movies_training_requests").skip_message == "no training is requested"


def test_unmoved_traffic_leads_to_nothing(definitions, instance, platform) -> None:
    """Green reports are read and lead to no decision and no request."""
    for seed in (2, 3):
        traffic(platform, shift=0, seed=seed)
        report(definitions, instance)
    looked = tick(definitions, instance, "drift_reports")
    assert "stable, no drift trigger" in looked.skip_message
    assert loop.decisions(platform.warehouse, "accidents") == []
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
def test_a_request_ends_as_its_run_did(definitions, instance, platform, status, promoted, expected, outcome) -> None:
    """Whatever became of the run, the request says so with the gate's reason, and the next one may start."""
    asked, _ = request_work(
        platform.warehouse, kind="training", model="accidents", source="api", requested_by="ada", reason="please"
    )
    assert tick(definitions, instance, "accidents_training_requests").run_requests[0].tags[REQUEST_TAG]
    run_id = run_for(instance, asked["id"], dg.DagsterRunStatus.STARTED)
    assert "running in" in tick(definitions, instance, "accidents_training_requests").skip_message
    running = work_request(platform.warehouse, asked["id"])
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
        tags={REQUEST_TAG: asked["id"]},
    )
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
    assert "started manually, is in progress" in tick(definitions, instance, "accidents_training_requests").skip_message


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


def fires(platform: Platform, name: str) -> str:
    """A request as the webhook leaves it when an alert of this name fires."""
    asked, _ = request_work(
        platform.warehouse,
        kind="training",
        model="accidents",
        source="alert",
        requested_by="alertmanager",
        reason=f"{name} fires",
        detail={"labels": {"alertname": name}},
    )
    row = {"id": name, "model": "accidents", "name": name, "summary": "", "request_id": asked["id"]}
    loop.remember_alert(platform.warehouse, row)
    return str(asked["id"])


def test_an_alert_on_drift_needs_as_many_red_windows_as_a_report(definitions, instance, platform) -> None:
    """One red window is too little for the alert as well, whoever asked for the report; the second lets it train."""
    traffic(platform, shift=1, seed=2)
    report(definitions, instance)
    first = fires(platform, "DatasetDrift")
    looked = tick(definitions, instance, "accidents_training_requests")
    assert "1 of the last 1 windows drifted, 2 of 3 are needed" in looked.skip_message
    closed = work_request(platform.warehouse, first)
    assert closed is not None
    assert closed["status"] == "done"
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


def test_an_alert_of_other_evidence_is_not_held_by_windows(definitions, instance, platform) -> None:
    """Lost performance joined the request that the drift alert had made: no red window is needed for that."""
    asked = fires(platform, "DatasetDrift")
    row = {"id": "other", "model": "accidents", "name": "LivePerformanceDropped", "summary": "", "request_id": asked}
    loop.remember_alert(platform.warehouse, row)
    (run,) = tick(definitions, instance, "accidents_training_requests").run_requests
    assert run.run_key == f"training:{asked}"


def test_the_shipped_rules_have_the_alerts_that_windows_hold() -> None:
    """A renamed rule would slip past the hysteresis unseen."""
    rules = yaml.safe_load((ROOT / "deploy/prometheus/rules/alerts.yml").read_text())
    names = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    assert names >= DRIFT_ALERTS


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
