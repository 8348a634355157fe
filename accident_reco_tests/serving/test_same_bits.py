"""The yearly asset, a request of a thousand and a single record give one and the same number for the same person."""

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from accident_reco.models.accidents.assets.scoring import score_people
from accident_reco.models.accidents.data.victims import build_victims
from accident_reco.models.accidents.features.context import CONTEXT_COLUMNS
from accident_reco.models.accidents.sample import sample_year
from accident_reco.models.accidents.scoring.scorer import AccidentScorer
from accident_reco.models.accidents.serving.request import ACCIDENT_FIELDS, USER_FIELDS, VEHICLE_FIELDS
from accident_reco.settings import Settings
from accident_reco_tests.serving.live import live
from accident_reco_tests.serving.loaders import LOADERS
from accident_reco_tests.serving.real import real_bundle
from accident_reco_tests.serving.toy import promote
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
    """A made-up year as it is read from the four files, with what the yearly asset says of everybody."""
    victims = build_victims(sample_year(2023, 1_400), 2023).victims.reset_index(drop=True)
    return victims.join(score_people(SCORER, victims, BUNDLE.version)[["probability", "grave", "uncertain"]])


def _said(row: dict[str, Any], names: Any) -> dict[str, Any]:
    """What a caller would send of a row: nothing for what is unknown."""
    known = {name: row[name] for name in names if name in row and row[name] is not None and row[name] == row[name]}
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in known.items()}
    return {name: value for name, value in plain.items() if value not in (-1, "")}


def _answers(client: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(URL, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_thousand_records_are_answered_as_the_year_is_scored(client: httpx.Client, year: pd.DataFrame) -> None:
    """The stated maximum in one call; then some of them alone."""
    rows = year.head(1_000).to_dict("records")
    records = [_said(row, SCORER.columns) for row in rows]
    many = _answers(client, {"records": records})["predictions"]
    assert [p["probability"] for p in many] == [row["probability"] for row in rows]
    assert [p["severity"] == "grave" for p in many] == [row["grave"] for row in rows]
    assert [p["uncertain"] for p in many] == [row["uncertain"] for row in rows]
    assert len({p["probability"] for p in many}) > 100
    for position in range(0, 1_000, 40):
        (alone,) = _answers(client, {"records": [records[position]]})["predictions"]
        assert alone["probability"] == rows[position]["probability"]


def test_whole_accidents_are_answered_as_the_year_is_scored(client: httpx.Client, year: pd.DataFrame) -> None:
    """The nested form computes from users and vehicles what the yearly merge computes: who else took part."""
    accidents, expected = [], []
    for _, people in year.groupby("Num_Acc", sort=False):
        vehicles = people.drop_duplicates("id_vehicule")
        if len(vehicles) != people["nb_vehicles"].iloc[0] or len(accidents) == 150:
            continue  # a vehicle without people is in the vehicles' file alone
        rows = people.to_dict("records")
        own = set(CONTEXT_COLUMNS)
        accidents.append(
            {
                **_said(rows[0], set(ACCIDENT_FIELDS) - own),
                "vehicles": [
                    {"id": row["id_vehicule"], **_said(row, set(VEHICLE_FIELDS) - own)}
                    for row in vehicles.to_dict("records")
                ],
                "users": [{"vehicle": row["id_vehicule"], **_said(row, set(USER_FIELDS) - own)} for row in rows],
            }
        )
        expected.append([row["probability"] for row in rows])
    answer = _answers(client, {"accidents": accidents})
    assert len(accidents) == 150
    assert [[user["probability"] for user in accident["users"]] for accident in answer["accidents"]] == expected
