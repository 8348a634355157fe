"""The retrain policy on a real warehouse: each trigger decided once, interrupted looks, alerts, back-off."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from accident_reco.lifecycle.retrain_policy import RetrainPolicy
from accident_reco.lifecycle.retrain_requests import Trigger, evaluate_trigger
from accident_reco.storage import alerts, drift_reports, notifications, retrain_decisions, work_requests
from accident_reco.storage.lifecycle import record_promotion
from accident_reco.storage.tables import loop
from accident_reco.storage.warehouse import Warehouse
from accident_reco.storage.work_requests import (
    advance_request,
    open_requests,
    request_training,
    request_work,
    work_request,
)
from accident_reco_tests.support.drift_rows import build_report_row

POLICY = RetrainPolicy(needed=2, window=3, cooldown=timedelta(0), backoff=timedelta(hours=1))


@pytest.fixture
def warehouse(tmp_path):
    warehouse = Warehouse(f"sqlite:///{tmp_path / 'warehouse.db'}")
    warehouse.upgrade()
    yield warehouse
    warehouse.close()


def save(warehouse: Warehouse, status: str, *, version: str = "v1", window: str = "log", minutes: float = 0) -> str:
    """A report of the accident model's, computed `minutes` from now."""
    row = build_report_row(
        version=version,
        window_name=window,
        status=status,
        groups=2000,
        computed_at=datetime.now(UTC) + timedelta(minutes=minutes),
    )
    drift_reports.save_report(warehouse, row)
    return str(row["id"])


def on_report(report_id: str, version: str = "v1") -> Trigger:
    return Trigger("accidents", "drift", report_id, "11 of 20 features drifted", version)


def now() -> datetime:
    return datetime.now(UTC) + timedelta(hours=1)


def test_second_red_window_queues_one_training(warehouse) -> None:
    """One red window waits; the second trains; the third finds the training under way. All three are on record."""
    answers = []
    for minute in range(3):
        report = save(warehouse, "drift", minutes=minute)
        answers.append(evaluate_trigger(warehouse, POLICY, on_report(report), now=now()))
    assert [(answer.action, answer.rule) for answer in answers] == [
        ("wait", "hysteresis"),
        ("train", "trigger"),
        ("wait", "single_flight"),
    ]
    (request,) = open_requests(warehouse, "training")
    assert request["id"] == answers[1].request_id
    assert request["source"] == "drift"
    assert request["reason"] == "11 of 20 features drifted"
    assert {row["rule"] for row in retrain_decisions.decisions(warehouse, "accidents")} == {
        "hysteresis",
        "trigger",
        "single_flight",
    }


def test_a_trigger_is_decided_once(warehouse) -> None:
    """A sensor's tick that is done again gets the same decision and the same request, even when the state moved on."""
    save(warehouse, "drift", minutes=-1)
    trigger = on_report(save(warehouse, "drift"))
    first = evaluate_trigger(warehouse, POLICY, trigger, now=now())
    advance_request(warehouse, str(first.request_id), "refused")
    again = evaluate_trigger(warehouse, POLICY, trigger, now=now())
    assert first.new
    assert not again.new
    assert (again.action, again.request_id) == (first.action, first.request_id)
    assert open_requests(warehouse, "training") == []


def test_a_look_cut_off_after_queueing_keeps_its_request(warehouse) -> None:
    """Killed between the request and the record: the next look finds the request and makes no second one."""
    save(warehouse, "drift", minutes=-1)
    trigger = on_report(save(warehouse, "drift"))
    request, _ = request_work(
        warehouse,
        kind="training",
        model="accidents",
        source="drift",
        requested_by="retrain policy",
        reason="11 of 20 features drifted",
        dedupe_key=f"retrain:accidents:drift:{trigger.id}",
    )
    answer = evaluate_trigger(warehouse, POLICY, trigger, now=now())
    assert (answer.action, answer.request_id) == ("train", request["id"])
    assert len(open_requests(warehouse, "training")) == 1


def test_windows_of_an_older_champion_do_not_count(warehouse) -> None:
    """After a promotion the reference is another: red windows against the old one prove nothing about the new one."""
    for minute in (-3, -2, -1):
        save(warehouse, "drift", version="v1", minutes=minute)
    answer = evaluate_trigger(warehouse, POLICY, on_report(save(warehouse, "drift", version="v2"), "v2"), now=now())
    assert answer.rule == "hysteresis"


def test_partitions_and_thin_windows_do_not_count(warehouse) -> None:
    """An analyst's question about 2019 and a night without traffic are no red windows, and no green ones."""
    save(warehouse, "drift", minutes=-5)
    save(warehouse, "drift", window="partition:2019", minutes=-4)
    save(warehouse, "insufficient_data", minutes=-3)
    assert drift_reports.recent_verdicts(warehouse, "accidents", "v1") == [True]
    answer = evaluate_trigger(warehouse, POLICY, on_report(save(warehouse, "drift")), now=now())
    assert answer.action == "train"


def test_the_same_rows_are_no_second_witness(warehouse) -> None:
    """A night without traffic: the window is checked hourly, is red each time, and has nothing new to say."""
    newest = datetime(2026, 3, 1, tzinfo=UTC)
    reports = [save(warehouse, "drift", minutes=minute) for minute in (-4, -3, -2, -1)]
    with warehouse.begin() as connection:
        connection.execute(loop.drift_reports.update().values(until=newest))
    assert drift_reports.recent_verdicts(warehouse, "accidents", "v1") == [True]
    assert evaluate_trigger(warehouse, POLICY, on_report(reports[-1]), now=now()).rule == "hysteresis"


def test_a_late_look_sees_what_was_there_then(warehouse) -> None:
    """Paging through missed reports, a red one is judged by the windows up to it, not by later green ones."""
    save(warehouse, "drift", minutes=-3)
    report = save(warehouse, "drift", minutes=-2)
    save(warehouse, "stable", minutes=-1)
    seen = drift_reports.report(warehouse, report)
    assert seen is not None
    answer = evaluate_trigger(warehouse, POLICY, on_report(report), now=now(), until=seen["computed_at"])
    assert answer.action == "train"


def test_lost_candidates_back_off_until_a_promotion(warehouse) -> None:
    """Two refused trainings wait twice the back-off; a promotion clears the count."""
    for _ in range(2):
        request, _ = request_work(
            warehouse, kind="training", model="accidents", source="drift", requested_by="p", reason="red"
        )
        advance_request(warehouse, request["id"], "refused", outcome="gain below 0.002")
    save(warehouse, "drift", minutes=-1)
    soon = datetime.now(UTC) + timedelta(hours=1, minutes=50)
    answer = evaluate_trigger(warehouse, POLICY, on_report(save(warehouse, "drift")), now=soon)
    assert answer.rule == "backoff"
    assert "2 consecutive rejections" in answer.reason
    record_promotion(
        warehouse,
        model="accidents",
        version="v2",
        previous="v1",
        action="promote",
        promoted=True,
        reason="won",
        detail={},
        run_id="r",
    )
    assert work_requests.consecutive_rejections(warehouse, "accidents") == (0, None)
    assert (
        evaluate_trigger(warehouse, POLICY, on_report(save(warehouse, "drift", minutes=1)), now=soon).action == "train"
    )


def test_requests_of_people_and_turned_down_alerts_cost_nothing(warehouse) -> None:
    """Cool-down, budget and back-off count what the platform started by itself, and only that."""
    asked, _ = request_work(warehouse, kind="training", model="accidents", source="api", requested_by="a", reason="r")
    advance_request(warehouse, asked["id"], "refused")
    alert, _ = request_work(warehouse, kind="training", model="accidents", source="alert", requested_by="a", reason="r")
    strict = RetrainPolicy(mode="off")
    trigger = Trigger("accidents", "alert", alert["id"], "ModelDrift fires", request_id=alert["id"])
    answer = evaluate_trigger(warehouse, strict, trigger, now=now())
    assert (answer.rule, answer.request_id) == ("off", None)
    advance_request(warehouse, alert["id"], "held", outcome=answer.reason)
    kept = work_request(warehouse, alert["id"])
    assert kept is not None
    assert kept["outcome"] == "automatic retraining is off"
    since = datetime.now(UTC) - timedelta(days=1)
    assert work_requests.automatic_trainings(warehouse, "accidents", since) == []
    assert work_requests.consecutive_rejections(warehouse, "accidents") == (0, None)


def test_a_training_that_ended_without_a_decision_counts(warehouse) -> None:
    """Its run has used the machine: it cools down and is part of the budget, unlike an alert that was turned down."""
    for run_id in ("run-1", None):
        request, _ = request_work(
            warehouse, kind="training", model="accidents", source="alert", requested_by="a", reason="r"
        )
        advance_request(warehouse, request["id"], "done", run_id=run_id, outcome="the run ended without a decision")
    since = datetime.now(UTC) - timedelta(days=1)
    assert len(work_requests.automatic_trainings(warehouse, "accidents", since)) == 1
    cool = RetrainPolicy(needed=1, window=1, cooldown=timedelta(hours=6), daily_budget=9)
    assert evaluate_trigger(warehouse, cool, on_report(save(warehouse, "drift")), now=now()).rule == "cooldown"
    once = RetrainPolicy(needed=1, window=1, cooldown=timedelta(0), daily_budget=1)
    assert evaluate_trigger(warehouse, once, on_report(save(warehouse, "drift")), now=now()).rule == "budget"


def test_an_alert_is_not_in_its_own_way(warehouse) -> None:
    """The alert's own queued request is the one to start, not another training under way."""
    alert, _ = request_work(warehouse, kind="training", model="movies", source="alert", requested_by="a", reason="r")
    trigger = Trigger("movies", "alert", alert["id"], "ModelDrift fires", request_id=alert["id"])
    answer = evaluate_trigger(warehouse, POLICY, trigger, now=now())
    assert (answer.action, answer.request_id) == ("train", alert["id"])
    assert len(open_requests(warehouse, "training")) == 1


def test_old_pages_are_forgotten_and_figures_kept(warehouse) -> None:
    """Drawn reports are megabytes: only the newest keep theirs, the rows stay."""
    ids = [save(warehouse, "stable", minutes=minute) for minute in range(4)]
    with warehouse.begin() as connection:
        connection.execute(loop.drift_reports.update().values(report_key=loop.drift_reports.c.id + ".html"))
    beyond = drift_reports.html_keys_beyond(warehouse, "accidents", keep=1)
    assert sorted(beyond) == sorted((i, f"{i}.html") for i in ids[:3])
    for report_id, _ in beyond:
        drift_reports.delete_html_key(warehouse, report_id)
    assert drift_reports.html_keys_beyond(warehouse, "accidents", keep=1) == []
    assert [row["report_key"] for row in drift_reports.reports(warehouse, "accidents")] == [
        f"{ids[3]}.html",
        None,
        None,
        None,
    ]


def test_a_notification_is_told_once(warehouse) -> None:
    """A failed run that the sensor sees twice is one message."""
    assert notifications.create_notification(warehouse, "run_failure", "run-1", "it failed")
    assert not notifications.create_notification(warehouse, "run_failure", "run-1", "it failed")
    notifications.record_delivery(warehouse, "run_failure", "run-1", "sent")


def test_an_alert_is_remembered(warehouse) -> None:
    """The same firing sent again finds itself."""
    row = {"id": "a" * 64, "model": "accidents", "name": "ModelDrift", "summary": "", "request_id": "r1"}
    assert alerts.save_alert(warehouse, row)
    assert not alerts.save_alert(warehouse, row | {"request_id": "r2"})
    seen = alerts.find_alert(warehouse, "a" * 64)
    assert seen is not None
    assert seen["request_id"] == "r1"


def test_requests_of_users_join_while_one_is_queued(warehouse) -> None:
    """Ten at once are one request; once that has started, the next one is new, and none joins another model's."""
    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(lambda n: request_training(warehouse, "accidents", f"u{n}", f"r{n}"), range(10)))
    first = {row["id"] for row, _ in found}
    assert len(first) == 1
    assert sum(new for _, new in found) == 1
    other, new = request_training(warehouse, "movies", "ada", "please")
    assert new
    assert other["id"] not in first
    (started,) = first
    advance_request(warehouse, started, "running", run_id="run")
    second, new = request_training(warehouse, "accidents", "ada", "please")
    assert new
    assert second["id"] != started
    advance_request(warehouse, second["id"], "held", outcome="the same version")
    third, new = request_training(warehouse, "accidents", "ada", "please")
    assert new
    assert len({started, second["id"], third["id"]}) == 3
    # One with an idempotency key is a user's too.
    advance_request(warehouse, third["id"], "failed")
    keyed, _ = request_work(
        warehouse, kind="training", model="accidents", source="api", requested_by="bob", reason="r", dedupe_key="api:k"
    )
    assert request_training(warehouse, "accidents", "ada", "please") == (work_request(warehouse, keyed["id"]), False)
