"""`POST /predict/accidents?explain=true` and `?advise=true` over real HTTP, with a real bundle."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from accident_reco.models.accidents.scoring.scorer import ADVICE_FILE
from accident_reco.models.accidents.serving.routes import MAX_EXPLAINED
from accident_reco.settings import Settings
from accident_reco_tests.support.live import live
from accident_reco_tests.support.loaders import LOADERS
from accident_reco_tests.support.real_accidents import real_bundle
from accident_reco_tests.support.toy import promote
from serving.predict.app import create_app

URL = "/predict/accidents"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    home = tmp_path_factory.mktemp("predict")
    promote(home, real_bundle())
    with live(create_app(Settings.load(home=home, auth_required=False), {"accidents": LOADERS["accidents"]})) as client:
        yield client


def test_factors_have_words_strongest_first(client: httpx.Client) -> None:
    """Sent values in the codebook's words; a missing value is a factor too."""
    body = {"records": [{"catu": 3, "catr": 1, "lum": 5}]}
    plain = client.post(URL, json=body).json()["predictions"][0]
    explained = client.post(URL, params={"explain": True}, json=body).json()["predictions"][0]
    assert "factors" not in plain
    assert explained["probability"] == plain["probability"]
    effects = [abs(factor["effect"]) for factor in explained["factors"]]
    assert len(effects) == 5
    assert effects == sorted(effects, reverse=True)
    first = explained["factors"][0]
    assert (first["column"], first["value"], first["words"]) == ("catu", 3, "Pedestrian")
    assert first["effect"] > 0
    assert {f["words"] for f in explained["factors"] if f["value"] is None} <= {"unknown"}


def test_missing_fields_are_apart_from_known_ones(client: httpx.Client) -> None:
    """A missing field is no cause: it stands in a list of its own, and says so wherever it stands."""
    body = {"records": [{"catu": 3, "lat": 48.9, "long": 2.4, "lum": 5}]}
    answer = client.post(URL, params={"explain": True}, json=body).json()["predictions"][0]
    assert {factor["column"] for factor in answer["known"]} <= {"catu", "lat", "lum"}
    assert "lat" in {factor["column"] for factor in answer["known"]}, "coordinates locate a road user without commune"
    assert all(factor["known"] and factor["words"] != "unknown" for factor in answer["known"])
    assert len(answer["missing"]) == 5
    assert not any(factor["known"] or factor["value"] is not None for factor in answer["missing"])
    assert all(factor["known"] == (factor["value"] is not None) for factor in answer["factors"])
    assert all(factor in [*answer["known"], *answer["missing"]] for factor in answer["factors"])


def test_advice_names_missing_fields_largest_change_first(client: httpx.Client) -> None:
    """What to ask next: only missing fields, with the range of the probabilities that they may lead to."""
    body = {"records": [{"catv": 7, "lum": 5}, {"catu": 3}]}
    plain = client.post(URL, json=body).json()["predictions"]
    first, second = client.post(URL, params={"advise": True}, json=body).json()["predictions"]
    assert "advice" not in plain[0]
    assert "factors" not in first
    assert first["advice"][0]["column"] == "catu", "the toy label depends on catu alone"
    assert "catu" not in {advice["column"] for advice in second["advice"]}
    for answer in (first, second):
        changes = [advice["change"] for advice in answer["advice"]]
        assert changes == sorted(changes, reverse=True)
        assert all(advice["lowest"] <= advice["highest"] for advice in answer["advice"])
    assert first["advice"][0]["highest"] - first["advice"][0]["lowest"] > 0.5


def test_the_full_form_explains_every_user(client: httpx.Client) -> None:
    """Each user of an accident has factors, context columns included."""
    body = {"accidents": [{"vehicles": [{"id": "A", "catv": 7}], "users": [{"vehicle": "A", "catu": 1}, {"catu": 3}]}]}
    users = client.post(URL, params={"explain": True}, json=body).json()["accidents"][0]["users"]
    assert [len(user["factors"]) for user in users] == [5, 5]


def test_explanations_are_limited(client: httpx.Client) -> None:
    """An explanation takes milliseconds: a thousand in one request would block others."""
    body = {"records": [{"catu": 1}] * (MAX_EXPLAINED + 1)}
    for wish in ("explain", "advise"):
        answer = client.post(URL, params={wish: True}, json=body)
        assert answer.status_code == 422
        assert f"at most {MAX_EXPLAINED}" in answer.text


def test_a_version_of_before_serves_without_advice(tmp_path: Path) -> None:
    """A bundle of older code has no values of fields: it answers, and says why there is no advice."""
    bundle = real_bundle(rounds=3)
    older = replace(bundle, files={name: data for name, data in bundle.files.items() if name != ADVICE_FILE})
    promote(tmp_path, older)
    app = create_app(Settings.load(home=tmp_path, auth_required=False), {"accidents": LOADERS["accidents"]})
    with live(app) as client:
        answer = client.post(URL, params={"advise": True, "explain": True}, json={"records": [{"catu": 1}]}).json()
    assert answer["predictions"][0]["advice"] is None
    assert answer["predictions"][0]["factors"]
    assert answer["warnings"] == ["This version was trained before advice existed; fix: train again."]
