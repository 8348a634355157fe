"""Accounts, API keys, the audit log and erasure, as admins use them over real HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import delete, text, update
from sqlalchemy.exc import DBAPIError

from accident_reco.settings import Settings, SettingsError
from accident_reco.storage import accounts, clock, prediction_log
from accident_reco.storage.tables.accounts import audit_log
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.accounts import PASSWORD, Auth, running_auth
from accident_reco_tests.support.live import live
from serving.auth.account_changes import issue_key
from serving.auth.app import create_app
from serving.auth.bootstrap import ensure_admin


def test_accounts_are_managed_by_admins(auth: Auth) -> None:
    """Create, read, change, delete; each step is audited; 403 for users."""
    headers = auth.headers()
    auth.add_user("grace", PASSWORD)
    assert auth.client.post("/users", json={"name": "grace", "password": PASSWORD}, headers=headers).status_code == 409
    assert auth.client.get("/users/grace", headers=headers).json()["role"] == "user"
    refresh = auth.login("grace", PASSWORD)["refresh_token"]
    changed = auth.client.patch("/users/grace", json={"disabled": True}, headers=headers)
    assert changed.json()["disabled"] is True
    assert auth.client.post("/token", data={"username": "grace", "password": PASSWORD}).status_code == 401
    answer = auth.client.post("/token", data={"grant_type": "refresh_token", "refresh_token": refresh})
    assert answer.status_code == 400, "a disabled account can refresh its login"
    assert auth.client.delete("/users/grace", headers=headers).status_code == 204
    assert auth.client.get("/users/grace", headers=headers).status_code == 404
    assert auth.client.get("/users", headers=auth.headers("ada", PASSWORD)).status_code == 403
    lines = auth.client.get("/audit", headers=headers).json()
    actions = [(line["action"], line["target"], line["actor"]) for line in lines]
    for action in ("user.create", "user.change", "user.delete"):
        assert (action, "grace", "admin") in actions
    assert PASSWORD not in auth.client.get("/audit", headers=headers).text


def test_admin_rights_end_with_the_role(auth: Auth) -> None:
    """The token of a demoted, disabled or deleted admin is not accepted, whatever scopes it has."""
    admin, again = auth.headers(), {"name": "mallory", "password": PASSWORD, "role": "admin"}
    for change, expected in (({"role": "user"}, 403), ({"disabled": True}, 401), (None, 401)):
        assert auth.client.post("/users", json=again, headers=admin).status_code == 201
        headers_of_mallory = auth.headers("mallory", PASSWORD)
        assert auth.client.get("/users", headers=headers_of_mallory).status_code == 200
        if change is not None:
            assert auth.client.patch("/users/mallory", json=change, headers=admin).status_code == 200
            promote = {"role": "admin", "disabled": False}
            assert auth.client.patch("/users/mallory", json=promote, headers=headers_of_mallory).status_code == expected
        assert auth.client.delete("/users/mallory", headers=admin).status_code == 204
        assert auth.client.get("/users", headers=headers_of_mallory).status_code == 401


def test_tokens_end_with_the_password_at_once(auth: Auth) -> None:
    """An admin whose password was stolen changes it: the thief's access token is rejected, a new login is not."""
    admin = auth.headers()
    body = {"name": "trent", "password": PASSWORD, "role": "admin"}
    assert auth.client.post("/users", json=body, headers=admin).status_code == 201
    stolen = auth.headers("trent", PASSWORD)
    assert auth.client.get("/users", headers=stolen).status_code == 200
    changed = "another correct battery"
    assert auth.client.patch("/users/trent", json={"password": changed}, headers=stolen).status_code == 200
    assert auth.client.get("/users", headers=stolen).status_code == 401
    assert auth.client.get("/users", headers=auth.headers("trent", changed)).status_code == 200
    assert auth.client.delete("/users/trent", headers=admin).status_code == 204


def test_the_last_admin_stays(auth: Auth) -> None:
    """409: an installation always has an admin."""
    headers = auth.headers()
    for answer in (
        auth.client.delete("/users/admin", headers=headers),
        auth.client.patch("/users/admin", json={"role": "user"}, headers=headers),
        auth.client.patch("/users/admin", json={"disabled": True}, headers=headers),
    ):
        assert answer.status_code == 409
    assert auth.client.get("/users/admin", headers=headers).json()["role"] == "admin"


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x"},
        {"name": "Ada"},
        {"name": "a" * 65},
        {"name": "../etc"},
        {"password": "short"},
        {"password": None},
        {"role": "root"},
        {"is_admin": True},
    ],
)
def test_invalid_accounts_are_rejected(auth: Auth, body: dict[str, object]) -> None:
    """422 for names, passwords and fields that violate the schema."""
    valid = {"name": "linus", "password": PASSWORD}
    assert auth.client.post("/users", json=valid | body, headers=auth.headers()).status_code == 422


def test_api_keys(auth: Auth) -> None:
    """Shown once, stored as a hash, scoped, revocable."""
    headers = auth.headers()
    created = auth.client.post("/api-keys", json={"name": "probe", "scopes": ["admin"]}, headers=headers).json()
    by_header = {"X-API-Key": created["key"]}
    assert auth.client.get("/users", headers=by_header).status_code == 200
    assert auth.client.get("/users", headers={"Authorization": f"Bearer {created['key']}"}).status_code == 200
    listed = auth.client.get("/api-keys", headers=headers)
    assert created["key"] not in listed.text
    assert "secret_hash" not in listed.text
    row = accounts.api_key(Warehouse(auth.settings.database), created["id"])
    assert row is not None
    assert row["secret_hash"] not in created["key"]
    assert auth.client.delete(f"/api-keys/{created['id']}", headers=headers).status_code == 204
    assert auth.client.delete(f"/api-keys/{created['id']}", headers=headers).status_code == 404
    assert auth.client.get("/users", headers={"X-API-Key": created["key"][:-1] + "x"}).status_code == 401


def test_the_audit_log_is_append_only(auth: Auth) -> None:
    """The database rejects UPDATE, DELETE and REPLACE."""
    warehouse = Warehouse(auth.settings.database)
    replace = text("INSERT OR REPLACE INTO audit_log SELECT * FROM audit_log")
    for statement in (update(audit_log).values(actor="other"), delete(audit_log), replace):
        with pytest.raises(DBAPIError, match="append-only"), warehouse.begin() as connection:
            connection.execute(statement)


def test_erasure_of_an_account(auth: Auth) -> None:
    """The predictions of the account are deleted, others stay, and the erasure is audited."""
    warehouse = Warehouse(auth.settings.database)
    common = {
        "request_id": "r",
        "at": clock.utc_now(),
        "model": "accidents",
        "version": "v",
        "source": "json",
        "status": 200,
        "score": 0.5,
        "answer": "grave",
        "latency_ms": 1.0,
        "inputs": {},
    }
    prediction_log.insert_predictions(
        warehouse, [{**common, "id": "1", "user_name": "ada"}, {**common, "id": "2", "user_name": "admin"}]
    )
    answer = auth.client.delete("/users/ada/data", headers=auth.headers())
    assert answer.json() == {"predictions": 1, "feedback": 0}
    assert prediction_log.prediction(warehouse, "1") is None
    assert prediction_log.prediction(warehouse, "2") is not None
    assert auth.client.get("/audit", headers=auth.headers()).json()[1]["action"] == "user.erase"


def create_key(auth: Auth, headers: dict[str, str], *scopes: str) -> dict[str, str]:
    answer = auth.client.post("/api-keys", json={"name": "k", "scopes": list(scopes)}, headers=headers)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def active_keys(auth: Auth) -> set[str]:
    return {row["id"] for row in auth.client.get("/api-keys", headers=auth.headers()).json() if not row["revoked_at"]}


@pytest.mark.parametrize(
    ("method", "body", "kept"),
    [("DELETE", None, []), ("PATCH", {"role": "user"}, ["predict"]), ("PATCH", {"disabled": True}, [])],
)
def test_keys_of_a_former_admin_are_revoked(
    tmp_path: Path, method: str, body: dict[str, object] | None, kept: list[str]
) -> None:
    """Also the keys that these keys created, and at the next start those of an admin who was removed otherwise."""
    with running_auth(tmp_path) as auth:
        auth.add_user("eve", PASSWORD, "admin")
        headers = auth.headers("eve", PASSWORD)
        keys = {scope: create_key(auth, headers, scope) for scope in ("admin", "predict", "train")}
        child = create_key(auth, {"X-API-Key": keys["admin"]["key"]}, "admin")
        grandchild = create_key(auth, {"X-API-Key": child["key"]}, "train")
        other = create_key(auth, auth.headers(), "train")
        everything = {key["id"] for key in (*keys.values(), child, grandchild, other)}
        assert active_keys(auth) == everything
        assert auth.client.request(method, "/users/eve", json=body, headers=auth.headers()).is_success
        assert active_keys(auth) == {other["id"], *(keys[scope]["id"] for scope in kept)}


def test_keys_of_an_admin_removed_otherwise_are_revoked_at_the_next_start(tmp_path: Path) -> None:
    """By a command or in the database, past the service."""
    with running_auth(tmp_path) as auth:
        auth.add_user("eve", PASSWORD, "admin")
        lost = create_key(auth, auth.headers("eve", PASSWORD), "admin")
        kept = create_key(auth, auth.headers(), "admin")
        warehouse = Warehouse(auth.settings.database)
        accounts.change_user(warehouse, "eve", {"role": "user"}, keep_an_admin=True)
        local = issue_key(warehouse, "k", ["train"], None, "root (command line)")
        warehouse.close()
        assert active_keys(auth) == {lost["id"], kept["id"], local["id"]}
        with live(create_app(auth.settings)):
            assert active_keys(auth) == {kept["id"], local["id"]}
            audit = auth.client.get("/audit", headers=auth.headers()).json()
    assert ("system", "key.revoke", lost["id"]) in {(line["actor"], line["action"], line["target"]) for line in audit}


def test_revoking_a_key_revokes_what_it_created(tmp_path: Path) -> None:
    """Who found a key may have made others with it."""
    with running_auth(tmp_path) as auth:
        stolen = create_key(auth, auth.headers(), "admin")
        made = create_key(auth, {"X-API-Key": stolen["key"]}, "admin")
        assert auth.client.delete(f"/api-keys/{stolen['id']}", headers=auth.headers()).status_code == 204
        assert active_keys(auth) == set()
        answer = auth.client.get("/users", headers={"X-API-Key": made["key"]})
        assert answer.status_code == 401


@pytest.mark.parametrize(
    "password",
    ["password1234", "aaaaaaaaaaaaaaaa", "mallorymallory", "qwertyuiop12", "1234567890123", "dagsteradmin"],
)
def test_passwords_that_are_easy_to_guess_are_refused(auth: Auth, password: str) -> None:
    """With the reason; when an account is created and when its password is changed."""
    headers = auth.headers()
    body = {"name": "mallory", "password": password}
    for answer in (
        auth.client.post("/users", json=body, headers=headers),
        auth.client.patch("/users/ada", json={"password": password}, headers=headers),
    ):
        if password.startswith("mallory") and answer.request.method == "PATCH":
            continue  # another account's name
        assert answer.status_code == 422
        assert answer.json()["type"].endswith("weak-password")
        assert answer.json()["errors"][0]["pointer"] == "body/password"
        assert password not in answer.text


def test_the_first_admins_password_must_be_strong(tmp_path: Path) -> None:
    """A weak one in the settings prevents the start, with the variable's name and without the password."""
    settings = Settings.load(home=tmp_path, admin_password="admin12345")
    Warehouse(settings.database).upgrade()
    with pytest.raises(SettingsError, match="ACCIDENT_RECO_ADMIN_PASSWORD") as refused:
        ensure_admin(settings)
    assert "admin12345" not in str(refused.value)
