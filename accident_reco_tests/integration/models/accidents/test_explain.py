"""`POST /predict/accidents?explain=true` over real HTTP, with a real bundle."""

from collections.abc import Iterator

import httpx
import pytest

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


def test_the_full_form_explains_every_user(client: httpx.Client) -> None:
    """Each user of an accident has factors, context columns included."""
    body = {"accidents": [{"vehicles": [{"id": "A", "catv": 7}], "users": [{"vehicle": "A", "catu": 1}, {"catu": 3}]}]}
    users = client.post(URL, params={"explain": True}, json=body).json()["accidents"][0]["users"]
    assert [len(user["factors"]) for user in users] == [5, 5]


def test_explanations_are_limited(client: httpx.Client) -> None:
    """An explanation takes milliseconds: a thousand in one request would block others."""
    answer = client.post(URL, params={"explain": True}, json={"records": [{"catu": 1}] * (MAX_EXPLAINED + 1)})
    assert answer.status_code == 422
    assert f"at most {MAX_EXPLAINED}" in answer.text
