"""Batch scoring, a request of 1 000 records and a single record have the same probability for the same road user."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from accident_reco.models.accidents.assets.scoring import score_road_users
from accident_reco.models.accidents.data.victims import build_victims
from accident_reco.models.accidents.features.context_columns import CONTEXT_COLUMNS
from accident_reco.models.accidents.sample import sample_year
from accident_reco.models.accidents.scoring.scorer import AccidentScorer
from accident_reco.models.accidents.serving.request import ACCIDENT_FIELDS, USER_FIELDS, VEHICLE_FIELDS
from accident_reco.settings import Settings
from accident_reco_tests.support.live import live
from accident_reco_tests.support.loaders import LOADERS
from accident_reco_tests.support.real_accidents import real_bundle
from accident_reco_tests.support.toy import promote
from serving.predict.app import create_app

URL = "/predict/accidents"
BUNDLE = real_bundle()
SCORER = AccidentScorer.from_files(BUNDLE.files)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    home = tmp_path_factory.mktemp("predict")
    promote(home, BUNDLE)
    with live(create_app(Settings.load(home=home, auth_required=False), {"accidents": LOADERS["accidents"]})) as client:
        yield client


@pytest.fixture(scope="module")
def year() -> pd.DataFrame:
    """A sample year as parsed from its four files, with the batch scores of every road user."""
    victims = build_victims(sample_year(2023, 1_400), 2023).victims.reset_index(drop=True)
    return victims.join(score_road_users(SCORER, victims, BUNDLE.version)[["probability", "grave", "uncertain"]])


def _build_record(row: dict[str, Any], names: Any) -> dict[str, Any]:
    """Fields of a row as a client would send them, without unknown values."""
    known = {name: row[name] for name in names if name in row and row[name] is not None and row[name] == row[name]}
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in known.items()}
    return {name: value for name, value in plain.items() if value not in (-1, "")}


def _predict(client: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(URL, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_records_are_scored_like_the_year(client: httpx.Client, year: pd.DataFrame) -> None:
    """The maximum of one request, then some of its records alone."""
    rows = year.head(1_000).to_dict("records")
    records = [_build_record(row, SCORER.columns) for row in rows]
    many = _predict(client, {"records": records})["predictions"]
    assert [p["probability"] for p in many] == [row["probability"] for row in rows]
    assert [p["severity"] == "grave" for p in many] == [row["grave"] for row in rows]
    assert [p["uncertain"] for p in many] == [row["uncertain"] for row in rows]
    assert len({p["probability"] for p in many}) > 100
    for position in range(0, 1_000, 40):
        (alone,) = _predict(client, {"records": [records[position]]})["predictions"]
        assert alone["probability"] == rows[position]["probability"]


def test_records_that_arrive_at_once_are_scored_like_the_year(client: httpx.Client, year: pd.DataFrame) -> None:
    """Single records of many connections at the same time, which the service computes together."""
    rows = year.head(200).to_dict("records")
    records = [_build_record(row, SCORER.columns) for row in rows]
    with ThreadPoolExecutor(16) as senders:
        answers = list(senders.map(lambda record: _predict(client, {"records": [record]}), records))
    alone = [answer["predictions"][0] for answer in answers]
    assert [p["probability"] for p in alone] == [row["probability"] for row in rows]
    assert [p["severity"] == "grave" for p in alone] == [row["grave"] for row in rows]
    assert len({p["prediction_id"] for p in alone}) == 200


def test_accidents_are_scored_like_the_year(client: httpx.Client, year: pd.DataFrame) -> None:
    """The nested form computes the context columns from users and vehicles like the yearly merge."""
    accidents, expected = [], []
    for _, users in year.groupby("Num_Acc", sort=False):
        vehicles = users.drop_duplicates("id_vehicule")
        if len(vehicles) != users["nb_vehicles"].iloc[0] or len(accidents) == 150:
            continue  # a vehicle without users is in the vehicles' file alone
        rows = users.to_dict("records")
        own = set(CONTEXT_COLUMNS)
        accidents.append(
            {
                **_build_record(rows[0], set(ACCIDENT_FIELDS) - own),
                "vehicles": [
                    {"id": row["id_vehicule"], **_build_record(row, set(VEHICLE_FIELDS) - own)}
                    for row in vehicles.to_dict("records")
                ],
                "users": [
                    {"vehicle": row["id_vehicule"], **_build_record(row, set(USER_FIELDS) - own)} for row in rows
                ],
            }
        )
        expected.append([row["probability"] for row in rows])
    answer = _predict(client, {"accidents": accidents})
    assert len(accidents) == 150
    assert [[user["probability"] for user in accident["users"]] for accident in answer["accidents"]] == expected
