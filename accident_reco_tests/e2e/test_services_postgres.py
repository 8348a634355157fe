"""Auth and predict on a real PostgreSQL: the log from answer to erasure, and text that PostgreSQL rejects."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest
from sqlalchemy.exc import DBAPIError

from accident_reco.settings import Settings
from accident_reco.storage import prediction_log
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.e2e.conftest import Postgres, service_settings
from accident_reco_tests.support.accounts import Auth
from accident_reco_tests.support.live import live, wait_for
from accident_reco_tests.support.toy import LOADERS, promote, toy_bundle
from accident_reco_tests.support.unusual_text import UNUSUAL_TEXT
from serving.auth.app import create_app as create_auth
from serving.auth.bootstrap import ensure_admin
from serving.predict.app import create_app

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def launcher(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return postgres.prepare_platform(tmp_path_factory.mktemp("services"))


@pytest.fixture
def owner(launcher: Settings) -> Iterator[Warehouse]:
    """The database as the role that owns it."""
    warehouse = Warehouse(launcher.database)
    yield warehouse
    warehouse.close()


@pytest.fixture(scope="module")
def services(launcher: Settings) -> Iterator[tuple[Auth, httpx.Client]]:
    """Both services, each with the role that it has in production."""
    promote(launcher.home, toy_bundle())
    settings = service_settings(launcher, "auth")
    password = ensure_admin(settings)
    assert password is not None
    with live(create_auth(settings)) as client:
        auth = Auth(client, settings, password)
        with live(create_app(service_settings(launcher, "predict", public_auth_url=auth.url), LOADERS)) as predict:
            yield auth, predict


def test_a_prediction_from_answer_to_erasure(services: tuple[Auth, httpx.Client], owner: Warehouse) -> None:
    """Logged in many statements, labelled, read back for evaluation, erased."""
    auth, predict = services
    headers = auth.headers()
    records = [{"catu": 3, "com": "O'Brien \\ %s \u0000", "hrmn": "17:45"}] * 250
    answer = predict.post("/predict/accidents", json={"records": records}, headers=headers).json()
    ids = [user["prediction_id"] for user in answer["predictions"]]
    wait_for(lambda: len(prediction_log.prediction_window(owner, "accidents")) == 250)
    row = prediction_log.prediction(owner, ids[-1])
    assert row is not None
    assert row["inputs"] == records[-1]
    label = {"prediction_id": ids[7], "severity": 2}
    assert predict.post("/feedback/accidents", json=label, headers=headers).status_code == 200
    (pair,) = prediction_log.labelled_predictions(owner, "accidents")
    assert (pair["id"], pair["outcome"]) == (ids[7], 1.0)
    erased = auth.client.delete("/users/admin/data", headers=headers)
    assert erased.json() == {"predictions": 250, "feedback": 1}


@pytest.mark.parametrize("text", UNUSUAL_TEXT)
def test_unusual_text_is_no_internal_error(services: tuple[Auth, httpx.Client], text: str) -> None:
    """PostgreSQL rejects NUL in text: the services do not send it."""
    auth, predict = services
    headers, quoted = auth.headers(), quote(text, safe="")
    answers = [
        auth.client.post("/token", data={"username": text, "password": text}),
        auth.client.post("/token", data={"grant_type": "refresh_token", "refresh_token": text}),
        auth.client.post("/token/revoke", data={"token": text}),
        auth.client.post("/api-keys", json={"name": text, "scopes": ["predict"]}, headers=headers),
        *(
            auth.client.delete(f"/{path}", headers=headers)
            for path in (f"users/{quoted}", f"users/{quoted}/data", f"api-keys/{quoted}")
        ),
        predict.post("/feedback/accidents", json={"prediction_id": text, "severity": 1}, headers=headers),
        predict.post("/models/accidents/rollback", json={"reason": text, "version": text}, headers=headers),
        predict.post(f"/training/{quoted}", json={"reason": text}, headers=headers),
        predict.get(f"/training/requests/{quoted}", headers=headers),
        predict.get(f"/models/{quoted}", headers=headers),
    ]
    assert [(str(a.url), a.status_code, a.text) for a in answers if a.status_code >= 500] == []


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_log SET actor = 'nobody'", "DELETE FROM audit_log", "TRUNCATE audit_log"]
)
def test_the_owner_cannot_rewrite_the_audit_log(
    services: tuple[Auth, httpx.Client], owner: Warehouse, statement: str
) -> None:
    """A trigger rejects what the owner's rights allow; the roles of the services lack these rights."""
    with pytest.raises(DBAPIError, match="append-only"), owner.begin() as connection:
        connection.exec_driver_sql(statement)
    with pytest.raises(DBAPIError, match="append-only"), owner.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO audit_log SELECT * FROM audit_log ON CONFLICT (id) DO UPDATE SET actor = 'nobody'"
        )
