"""Codebook, departments and nearest commune over real HTTP, with a real bundle."""

from collections.abc import Iterator

import httpx
import pytest

from accident_reco.settings import Settings
from accident_reco_tests.support.live import live
from accident_reco_tests.support.loaders import LOADERS
from accident_reco_tests.support.real_accidents import real_bundle
from accident_reco_tests.support.toy import promote
from serving.predict.app import create_app


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    home = tmp_path_factory.mktemp("predict")
    promote(home, real_bundle())
    with live(create_app(Settings.load(home=home, auth_required=False), {"accidents": LOADERS["accidents"]})) as client:
        yield client


def test_the_codebook_is_served_and_cached(client: httpx.Client) -> None:
    """Both languages in one answer; a client that has it gets 304."""
    answer = client.get("/accidents/codebook")
    fields = {field["name"]: field for field in answer.json()["fields"]}
    assert (fields["lum"]["fr"], fields["lum"]["en"], fields["lum"]["part"]) == ("Lumière", "Light", "accident")
    assert {"code": 3, "fr": "Piéton", "en": "Pedestrian"} in fields["catu"]["codes"]
    assert answer.json()["departments"]["59"] == "Nord"
    again = client.get("/accidents/codebook", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_location_has_a_commune_of_the_training_data(client: httpx.Client) -> None:
    """The centres are those of the served version; a prediction accepts what the look-up returned."""
    centres = {one["dep"]: one for one in client.get("/accidents/departments").json()["departments"]}
    assert set(centres) == {"59", "75", "2A"}
    place = {name: centres["59"][name] for name in ("lat", "long")}
    found = client.get("/accidents/nearest-commune", params=place).json()
    assert found["com"] in ("59", "75", "2A")
    assert found["distance_km"] < 100
    record = {name: found[name] for name in ("lat", "long", "dep", "com")}
    assert client.post("/predict/accidents", json={"records": [{"catu": 1, **record}]}).status_code == 200


def test_a_location_far_from_the_data_has_none(client: httpx.Client) -> None:
    """404 in words; coordinates that are none are 422."""
    answer = client.get("/accidents/nearest-commune", params={"lat": -40, "long": 100})
    assert answer.status_code == 404
    assert "within 100 km" in answer.json()["detail"]
    assert client.get("/accidents/nearest-commune", params={"lat": "nan", "long": 1}).status_code == 422
