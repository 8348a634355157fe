"""`POST /predict/accidents` and `GET /models` over real HTTP: both request forms, invalid requests, hot reload."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from accident_reco.settings import Settings
from accident_reco_tests.support.live import live, wait_for
from accident_reco_tests.support.toy import LOADERS, promote, toy_bundle
from serving.predict.app import create_app

URL = "/predict/accidents"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    home = tmp_path_factory.mktemp("predict")
    promote(home, toy_bundle(0.9))
    with live(create_app(Settings.load(home=home, auth_required=False), LOADERS)) as client:
        yield client


def test_records_are_scored_individually(client: httpx.Client) -> None:
    """The short form: one prediction per record, in order, with all fields of the contract."""
    answer = client.post(URL, json={"records": [{"catu": 3}, {"catu": 1}, {}, {"catu": None}, {"catu": -1}]}).json()
    assert [p["probability"] for p in answer["predictions"]] == [0.9, 0.3, 0.0, 0.0, 0.0]
    assert [p["severity"] for p in answer["predictions"]] == ["grave", "light", "light", "light", "light"]
    assert len({p["prediction_id"] for p in answer["predictions"]}) == 5
    assert answer["model"] == "accidents"
    assert len(answer["version"]) == 16
    assert answer["data_source"] == "sample"
    assert answer["threshold"] == 0.5
    assert answer["context"] == "partial"


def test_accidents_have_user_and_joint_probabilities(client: httpx.Client) -> None:
    """The full form: one probability per user, and 1 - (1-p1)(1-p2) for at least one of them."""
    body = {
        "accidents": [
            {"lum": 1, "vehicles": [{"id": "A", "catv": 7}], "users": [{"vehicle": "A", "catu": 1}, {"catu": 3}]},
            {"users": [{"catu": 2}]},
        ]
    }
    answer = client.post(URL, json=body).json()
    first, second = answer["accidents"]
    assert [u["probability"] for u in first["users"]] == [0.3, 0.9]
    assert first["any_grave_probability"] == pytest.approx(1 - 0.7 * 0.1)
    assert second["any_grave_probability"] == pytest.approx(0.6)
    assert answer["context"] == "full"
    assert answer["warnings"] == []


def test_unlisted_vehicle_is_a_warning(client: httpx.Client) -> None:
    """A reference to an unlisted vehicle counts as an unknown vehicle, with a warning."""
    body = {"accidents": [{"vehicles": [{"id": "A"}, {"id": "A"}], "users": [{"vehicle": "B"}]}]}
    answer = client.post(URL, json=body).json()
    assert [warning.split(":")[0] for warning in answer["warnings"]] == ["accidents/0", "accidents/0/users/0"]


@pytest.mark.parametrize(
    ("record", "named"),
    [
        ({"catu": 4}, "catu (kind of road user) takes {1, 2, 3}, or -1 for unknown"),
        ({"catu": True}, "catu"),
        ({"catu": "1"}, "catu"),
        ({"catu": 1.5}, "catu"),
        ({"catu": 10**40}, "catu"),
        ({"hrmn": "25:00"}, 'hrmn (local time) takes "17:45" or 1745, or -1 for unknown'),
        ({"lat": 91}, "lat"),
        ({"actp": "C"}, "actp"),
        ({"vma": 900}, "vma (speed limit) takes 5 to 130 km/h, or -1 for unknown"),
        ({"com": "x" * 201}, "com"),
        ({"grav": 2}, "Extra inputs are not permitted"),
        ({"Catu": 1}, "Extra inputs are not permitted"),
        ([], "valid dictionary"),
    ],
)
def test_wrong_values_name_the_field_and_the_rule(client: httpx.Client, record: Any, named: str) -> None:
    """422 with location and rule, not the value; a misspelt field is an error."""
    answer = client.post(URL, json={"records": [{}, record]})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["errors"][0]["pointer"].startswith("body/records/1")
    assert named in problem["errors"][0]["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert "x" * 50 not in answer.text
    assert str(10**40) not in answer.text


@pytest.mark.parametrize(
    "values",
    [
        {"hrmn": "7:05", "actp": "A", "lat": -0.39, "long": 2.35, "dep": "2A", "com": "75056", "nbv": -1},
        {"hrmn": 705, "actp": 10, "an": 2024, "Num_Acc": 202400000001, "id_vehicule": "155 680 557", "nb_users": 2},
    ],
)
def test_official_values_are_accepted(client: httpx.Client, values: dict[str, Any]) -> None:
    """Values as BAAC publishes them: clock times, letters, INSEE codes, negative coordinates, -1 for unknown."""
    answer = client.post(URL, json={"records": [values]})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"records": []},
        {"accidents": []},
        {"records": [{}] * 1001},
        {"records": [{}], "accidents": []},
        [],
        1,
        {"accidents": [{}]},
        {"accidents": [{"users": []}]},
        {"accidents": [{"users": [{}] * 201}]},
        {"accidents": [{"users": [{"catu": 1}] * 200}] * 26},
    ],
)
def test_other_shapes_are_rejected(client: httpx.Client, body: Any) -> None:
    """Neither form, both forms, none or too many records."""
    answer = client.post(URL, json=body)
    assert answer.status_code == 422
    assert answer.json()["status"] == 422


def test_models_show_champion_and_reason(client: httpx.Client) -> None:
    """Champion, metrics, the gate's reason unchanged."""
    (model,) = client.get("/models").json()
    assert model["reason"] == "first model"
    details = client.get("/models/accidents").json()
    assert details["champion"] == model["champion"]
    assert [v["version"] for v in details["versions"]] == [model["champion"]]
    assert details["versions"][0]["gate"] == {"promote": True, "reason": "first model"}
    assert client.get("/models/nonsense").status_code == 404


def test_a_promotion_is_served_without_interruption(tmp_path: Path) -> None:
    """Within two seconds of the move of the pointer all responses are from the new version, and none fails."""
    old = promote(tmp_path, toy_bundle(0.9))
    with live(create_app(Settings.load(home=tmp_path, auth_required=False), LOADERS)) as client:
        seen = []

        def changed() -> bool:
            answer = client.post(URL, json={"records": [{"catu": 3}]})
            assert answer.status_code == 200
            seen.append((answer.json()["version"], answer.json()["predictions"][0]["probability"]))
            return seen[-1][0] != old.version

        assert not changed()
        new = promote(tmp_path, toy_bundle(0.6))
        wait_for(changed, seconds=2)
        assert set(seen) == {(old.version, 0.9), (new.version, 0.6)}, "never a mixture"


def test_damaged_bundle_shows_in_readyz_and_metrics(tmp_path: Path) -> None:
    """The previous version serves; the service stays ready, with the reason in the body."""
    old = promote(tmp_path, toy_bundle(0.9))
    with live(create_app(Settings.load(home=tmp_path, auth_required=False), LOADERS)) as client:
        promote(tmp_path, toy_bundle(-1.0))
        wait_for(lambda: "problem" in client.get("/readyz").json()["models"]["accidents"])
        ready = client.get("/readyz")
        assert ready.status_code == 200
        assert ready.json()["models"]["accidents"]["version"] == old.version
        assert 'model_reloads_total{model="accidents",outcome="refused"} 1.0' in client.get("/metrics").text
        assert client.post(URL, json={"records": [{}]}).json()["version"] == old.version


def test_without_a_champion_predictions_are_503(tmp_path: Path) -> None:
    """Before the first promotion: not ready, and 503 with the reason."""
    with live(create_app(Settings.load(home=tmp_path, auth_required=False), LOADERS), ready=False) as client:
        assert client.get("/livez").status_code == 200
        assert client.get("/readyz").status_code == 503
        answer = client.post(URL, json={"records": [{}]})
        assert answer.status_code == 503
        assert answer.json()["type"] == "urn:accident-reco:problem:no-champion"
        assert answer.headers["retry-after"] == "5"
