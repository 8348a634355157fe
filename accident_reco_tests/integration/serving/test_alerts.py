"""Alertmanager's webhook over real HTTP: one request per firing, storms, replays, held-back requests, the secret."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from accident_reco.drift.alert_secret import load_alert_secret
from accident_reco.settings import Settings
from accident_reco.storage import retrain_decisions
from accident_reco.storage.tables import loop
from accident_reco.storage.warehouse import Warehouse
from accident_reco.storage.work_requests import advance_request, open_requests
from accident_reco_tests.support.alerts import build_alert, send_alerts
from accident_reco_tests.support.live import live
from serving.drift.app import create_app
from serving.drift.secret import is_authorized


@pytest.fixture
def client(settings, warehouse):
    with live(create_app(settings)) as running:
        yield running


def test_an_alert_creates_one_request(client, settings, warehouse) -> None:
    """Repetitions, also after the training has ended, create no second request for the same firing."""
    answer = send_alerts(client, settings, build_alert())
    assert answer.status_code == 202
    (request_id,) = answer.json()["requests"]
    assert answer.json()["queued"] == 1
    (request,) = open_requests(warehouse, "training")
    assert request["id"] == request_id
    assert (request["source"], request["reason"]) == ("alert", "ModelDrift fires: share 0.8")
    again = send_alerts(client, settings, build_alert()).json()
    assert (again["replayed"], again["requests"]) == (1, [request_id])
    advance_request(warehouse, request_id, "promoted")
    assert send_alerts(client, settings, build_alert()).json()["replayed"] == 1
    assert open_requests(warehouse, "training") == []
    assert send_alerts(client, settings, build_alert(start="t1")).json()["queued"] == 1


def hold_back(warehouse: Warehouse, request_id: str, action: str = "wait", until: datetime | None = None) -> None:
    """Decide against the training of a request, as the sensor does."""
    detail = {"until": until.isoformat()} if until else {}
    retrain_decisions.record_decision(
        warehouse,
        {
            "model": "accidents",
            "source": "alert",
            "trigger_id": request_id,
            "action": action,
            "rule": "r",
            "reason": "cooling down",
            "detail": detail,
            "request_id": None,
        },
    )
    advance_request(warehouse, request_id, "done", outcome="cooling down")


def test_a_held_back_alert_is_requested_again(client, settings, warehouse) -> None:
    """Repetitions create no request before the end of the cool-down and one after it, until a training has ended."""
    (first,) = send_alerts(client, settings, build_alert()).json()["requests"]
    hold_back(warehouse, first, until=datetime.now(UTC) + timedelta(hours=1))
    assert send_alerts(client, settings, build_alert()).json()["replayed"] == 1
    assert open_requests(warehouse, "training") == []
    passed = {"until": datetime.now(UTC).isoformat()}
    with warehouse.begin() as connection:
        connection.execute(loop.retrain_decisions.update().values(detail=passed))
    assert send_alerts(client, settings, build_alert()).json()["queued"] == 1
    (request,) = open_requests(warehouse, "training")
    assert request["id"] != first
    assert send_alerts(client, settings, build_alert()).json()["requests"] == [request["id"]]
    advance_request(warehouse, request["id"], "refused")
    assert send_alerts(client, settings, build_alert()).json()["replayed"] == 1
    assert open_requests(warehouse, "training") == []


def test_parallel_repetitions_of_a_held_back_alert_create_one_request(client, settings, warehouse) -> None:
    """The Alertmanagers of a cluster repeat an alert at the same moment."""
    (first,) = send_alerts(client, settings, build_alert()).json()["requests"]
    hold_back(warehouse, first)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: send_alerts(client, settings, build_alert()).json(), range(16)))
    assert sum(answer["queued"] for answer in answers) == 1
    assert len(open_requests(warehouse, "training")) == 1


def test_a_suggestion_is_recorded_once(client, settings, warehouse) -> None:
    """The policy suggested a training; repetitions of the same firing create no request."""
    (first,) = send_alerts(client, settings, build_alert()).json()["requests"]
    hold_back(warehouse, first, action="suggest")
    assert send_alerts(client, settings, build_alert()).json()["replayed"] == 1
    assert open_requests(warehouse, "training") == []


def test_warehouse_failure_is_503(tmp_path) -> None:
    """503 without tables or database, so that Alertmanager repeats the alert."""
    settings = Settings.load(home=tmp_path, auth_required=False)
    with live(create_app(settings), ready=False) as client:
        assert send_alerts(client, settings, build_alert()).status_code == 503


def test_a_storm_creates_one_request_per_model(client, settings, warehouse) -> None:
    """Hundreds of alerts, in one notification and in parallel."""
    storm = send_alerts(
        client, settings, *(build_alert(i) for i in range(200)), *(build_alert(i, model="movies") for i in range(50))
    )
    assert storm.json()["queued"] == 2
    assert storm.json()["joined"] == 248
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: send_alerts(client, settings, build_alert(1_000 + i)), range(24)))
    assert len(open_requests(warehouse, "training")) == 2


def test_parallel_first_alerts_create_one_request(client, settings, warehouse) -> None:
    """Concurrent notifications that see no open request create a single one."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: send_alerts(client, settings, build_alert(i)).json(), range(16)))
    assert sum(answer["queued"] for answer in answers) == 1
    assert len(open_requests(warehouse, "training")) == 1


def test_resolved_and_foreign_alerts_create_no_request(client, settings, warehouse) -> None:
    """Resolved alerts and those that name no model of this installation are only counted."""
    answer = send_alerts(
        client,
        settings,
        build_alert(1, status="resolved"),
        build_alert(2, model=None),
        build_alert(3, model="../accidents"),
    ).json()
    assert (answer["resolved"], answer["ignored"], answer["requests"]) == (1, 2, [])
    assert open_requests(warehouse) == []


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer wrong", "Basic {secret}", "{secret}", "Bearer {secret}x"]
)
def test_the_secret_is_required(client, settings, warehouse, header) -> None:
    """401 before the body is read."""
    headers = {} if header is None else {"Authorization": header.format(secret=load_alert_secret(settings))}
    answer = client.post("/alerts", content=b"{broken", headers=headers | {"content-type": "application/json"})
    assert answer.status_code == 401
    assert open_requests(warehouse) == []


@pytest.mark.parametrize("body", [{}, {"version": "3", "alerts": []}, {"version": "4", "alerts": [{}]}, []])
def test_other_payloads_are_rejected(client, settings, body) -> None:
    """422 for payloads that are not version 4 of the webhook."""
    headers = {"Authorization": f"Bearer {load_alert_secret(settings)}"}
    assert client.post("/alerts", json=body, headers=headers).status_code == 422


def test_the_secret_is_generated_once(tmp_path) -> None:
    """File mode 0600; a setting takes precedence."""
    settings = Settings.load(home=tmp_path)
    with ThreadPoolExecutor(8) as pool:
        secrets = set(pool.map(lambda _: load_alert_secret(settings), range(8)))
    assert len(secrets) == 1
    assert (tmp_path / "keys" / "alert-secret").stat().st_mode & 0o777 == 0o600
    assert load_alert_secret(Settings.load(home=tmp_path, alert_secret="stated")) == "stated"
    assert not is_authorized("", "Bearer ")


def test_authentication(tmp_path) -> None:
    """Reports require a token, alerts only their secret."""
    settings = Settings.load(home=tmp_path, auth_port=1)
    warehouse = Warehouse(settings.database)
    warehouse.upgrade()
    warehouse.close()
    with live(create_app(settings)) as client:
        assert client.get("/monitoring/drift/accidents").status_code == 401
        assert client.get("/monitoring/drift/accidents/report").status_code == 401
        assert send_alerts(client, settings, build_alert()).status_code == 202
