"""The auth service over real HTTP: logins, rotation, accounts, keys, audit; what must be alike and what must end."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import httpx
import jwt
import pytest
from sqlalchemy import delete, text, update
from sqlalchemy.exc import DBAPIError

from accident_reco.settings import Settings
from accident_reco.storage import accounts, prediction_log
from accident_reco.storage.tables.accounts import audit_log
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.serving.accounts import Auth, prepared, running_auth
from serving.auth.__main__ import main
from serving.auth.bootstrap import ensure_admin
from serving.auth.issuing import hash_token
from serving.auth.keys import KeyRing

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def auth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Auth]:
    with running_auth(tmp_path_factory.mktemp("auth")) as running:
        running.add_user("ada", PASSWORD)
        yield running


def test_first_start_makes_one_admin_with_a_random_password(tmp_path: Path) -> None:
    """The password is given once and kept in a file that only its owner reads; a second start gives none."""
    settings, password = prepared(tmp_path)
    assert len(password) >= 20
    assert ensure_admin(settings) is None
    kept = settings.keys / "admin-password"
    assert kept.read_text().strip() == password
    for file in settings.keys.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name


def test_a_stated_admin_password_is_not_shown(tmp_path: Path) -> None:
    """Where the settings give the password, nothing is printed and nothing is kept."""
    settings = Settings.load(home=tmp_path, admin_password="stated by the operator")
    Warehouse(settings.database).upgrade()
    assert ensure_admin(settings) is None
    assert not (settings.keys / "admin-password").exists()


def test_access_token_carries_what_the_contract_names(auth: Auth) -> None:
    """iss, aud, sub, scope, jti, kid; Ed25519; verifiable with the published key alone."""
    answer = auth.login("ada", PASSWORD)
    assert answer["scope"] == "feedback monitor predict"
    (entry,) = auth.client.get("/.well-known/jwks.json").json()["keys"]
    assert "d" not in entry
    claims = jwt.decode(
        answer["access_token"],
        jwt.PyJWK(entry).key,
        algorithms=["EdDSA"],
        audience="accident_reco",
        issuer="accident_reco",
    )
    assert claims["sub"] == "ada"
    assert claims["jti"]
    assert claims["exp"] - claims["iat"] == 15 * 60
    assert jwt.get_unverified_header(answer["access_token"])["kid"] == entry["kid"]


def test_a_login_may_ask_for_less(auth: Auth) -> None:
    """Scopes that were asked for and are allowed; asking only for others is refused."""
    assert auth.login("ada", PASSWORD, scope="predict admin")["scope"] == "predict"
    refused = auth.client.post("/token", data={"username": "ada", "password": PASSWORD, "scope": "admin"})
    assert refused.status_code == 400
    assert refused.json()["error"] == "invalid_scope"


def test_refresh_rotates_and_reuse_ends_the_login(auth: Auth) -> None:
    """A refresh token works once; the second use revokes every token that came from the same login."""
    first = auth.login("ada", PASSWORD)["refresh_token"]

    def refresh(token: str) -> object:
        return auth.client.post("/token", data={"grant_type": "refresh_token", "refresh_token": token})

    second = refresh(first).json()["refresh_token"]  # type: ignore[attr-defined]
    assert second != first
    for stolen in (first, second):
        answer = refresh(stolen)
        assert answer.status_code == 400  # type: ignore[attr-defined]
        assert answer.json()["error"] == "invalid_grant"  # type: ignore[attr-defined]
    actions = [line["action"] for line in auth.client.get("/audit", headers=auth.headers()).json()]
    assert "token.reuse" in actions


def test_a_refresh_narrows_and_never_widens(auth: Auth) -> None:
    """RFC 6749, 6: a refresh may ask for less than the login has; the next may have it all again, never more."""
    token = auth.login("ada", PASSWORD, scope="predict monitor")["refresh_token"]
    for wanted, granted in (("monitor", "monitor"), ("predict admin feedback", "predict"), ("", "monitor predict")):
        data = {"grant_type": "refresh_token", "refresh_token": token, "scope": wanted}
        answer = auth.client.post("/token", data=data).json()
        assert answer["scope"] == granted
        token = answer["refresh_token"]
    refused = auth.client.post(
        "/token", data={"grant_type": "refresh_token", "refresh_token": token, "scope": "admin feedback"}
    )
    assert refused.json()["error"] == "invalid_scope"


def test_a_reuse_in_the_middle_of_a_refresh_catches_what_it_makes(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thief and owner at the same moment: the family is revoked with the token that is just being made."""
    token = auth.login("ada", PASSWORD)["refresh_token"]
    find, meanwhile = accounts.user, []

    def interrupted(warehouse: Warehouse, name: str) -> object:
        if not meanwhile:
            meanwhile.append(accounts.use_refresh_token(warehouse, hash_token(token), "0" * 64, timedelta(days=1))[0])
        return find(warehouse, name)

    monkeypatch.setattr("accident_reco.storage.accounts.user", interrupted)
    made = auth.client.post("/token", data={"grant_type": "refresh_token", "refresh_token": token}).json()
    assert meanwhile == ["reused"]
    answer = auth.client.post("/token", data={"grant_type": "refresh_token", "refresh_token": made["refresh_token"]})
    assert answer.status_code == 400, "a token of a revoked family works"


def test_no_token_is_taken_for_the_other_kind(auth: Auth) -> None:
    """An access token refreshes nothing, a refresh token opens nothing, and neither is taken from the address."""
    login = auth.login()
    data = {"grant_type": "refresh_token", "refresh_token": login["access_token"]}
    assert auth.client.post("/token", data=data).json()["error"] == "invalid_grant"
    as_bearer = {"Authorization": f"Bearer {login['refresh_token']}"}
    assert auth.client.get("/users", headers=as_bearer).status_code == 401
    assert auth.client.get(f"/users?access_token={login['access_token']}").status_code == 401


def test_revoking_ends_the_login(auth: Auth) -> None:
    """Logout: the refresh token is worth nothing; unknown tokens are answered alike."""
    token = auth.login("ada", PASSWORD)["refresh_token"]
    assert auth.client.post("/token/revoke", data={"token": token}).status_code == 200
    assert auth.client.post("/token/revoke", data={"token": "unknown"}).status_code == 200
    answer = auth.client.post("/token", data={"grant_type": "refresh_token", "refresh_token": token})
    assert answer.status_code == 400


def test_accounts_are_managed_by_admins(auth: Auth) -> None:
    """Create, read, change, remove; each step in the audit log; what a user may not see is 403."""
    headers = auth.headers()
    auth.add_user("grace", PASSWORD)
    assert auth.client.post("/users", json={"name": "grace", "password": PASSWORD}, headers=headers).status_code == 409
    assert auth.client.get("/users/grace", headers=headers).json()["role"] == "user"
    refresh = auth.login("grace", PASSWORD)["refresh_token"]
    changed = auth.client.patch("/users/grace", json={"disabled": True}, headers=headers)
    assert changed.json()["disabled"] is True
    assert auth.client.post("/token", data={"username": "grace", "password": PASSWORD}).status_code == 401
    answer = auth.client.post("/token", data={"grant_type": "refresh_token", "refresh_token": refresh})
    assert answer.status_code == 400, "a disabled account's login goes on"
    assert auth.client.delete("/users/grace", headers=headers).status_code == 204
    assert auth.client.get("/users/grace", headers=headers).status_code == 404
    assert auth.client.get("/users", headers=auth.headers("ada", PASSWORD)).status_code == 403
    lines = auth.client.get("/audit", headers=headers).json()
    did = [(line["action"], line["target"], line["actor"]) for line in lines]
    for action in ("user.create", "user.change", "user.delete"):
        assert (action, "grace", "admin") in did
    assert PASSWORD not in auth.client.get("/audit", headers=headers).text


def test_who_is_no_admin_any_more_administers_nothing(auth: Auth) -> None:
    """A token says who was an admin when it was made: demoted, disabled or removed, it opens nothing here."""
    admin, again = auth.headers(), {"name": "mallory", "password": PASSWORD, "role": "admin"}
    for change, expected in (({"role": "user"}, 403), ({"disabled": True}, 401), (None, 401)):
        assert auth.client.post("/users", json=again, headers=admin).status_code == 201
        hers = auth.headers("mallory", PASSWORD)
        assert auth.client.get("/users", headers=hers).status_code == 200
        if change is not None:
            assert auth.client.patch("/users/mallory", json=change, headers=admin).status_code == 200
            promote = {"role": "admin", "disabled": False}
            assert auth.client.patch("/users/mallory", json=promote, headers=hers).status_code == expected
        assert auth.client.delete("/users/mallory", headers=admin).status_code == 204
        assert auth.client.get("/users", headers=hers).status_code == 401


def test_the_last_admin_stays(auth: Auth) -> None:
    """Nobody locks everybody out."""
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
def test_accounts_that_are_not_made(auth: Auth, body: dict[str, object]) -> None:
    """Names and passwords by rule; no field that is not documented."""
    valid = {"name": "linus", "password": PASSWORD}
    assert auth.client.post("/users", json=valid | body, headers=auth.headers()).status_code == 422


def test_keys_of_machines(auth: Auth) -> None:
    """Shown once, kept hashed, scoped, revocable."""
    headers = auth.headers()
    made = auth.client.post("/api-keys", json={"name": "probe", "scopes": ["admin"]}, headers=headers).json()
    by_header = {"X-API-Key": made["key"]}
    assert auth.client.get("/users", headers=by_header).status_code == 200
    assert auth.client.get("/users", headers={"Authorization": f"Bearer {made['key']}"}).status_code == 200
    listed = auth.client.get("/api-keys", headers=headers)
    assert made["key"] not in listed.text
    assert "secret_hash" not in listed.text
    row = accounts.api_key(Warehouse(auth.settings.database), made["id"])
    assert row is not None
    assert row["secret_hash"] not in made["key"]
    assert auth.client.delete(f"/api-keys/{made['id']}", headers=headers).status_code == 204
    assert auth.client.delete(f"/api-keys/{made['id']}", headers=headers).status_code == 404
    assert auth.client.get("/users", headers={"X-API-Key": made["key"][:-1] + "x"}).status_code == 401


def test_the_database_refuses_to_rewrite_the_audit_log(auth: Auth) -> None:
    """Append-only is not a convention: an UPDATE or DELETE fails."""
    warehouse = Warehouse(auth.settings.database)
    replace = text("INSERT OR REPLACE INTO audit_log SELECT * FROM audit_log")
    for statement in (update(audit_log).values(actor="nobody"), delete(audit_log), replace):
        with pytest.raises(DBAPIError, match="append-only"), warehouse.begin() as connection:
            connection.execute(statement)


def test_rotation_signs_with_the_new_key_and_verifies_with_both(tmp_path: Path) -> None:
    """Two keys are published during rotation; a third rotation withdraws the first."""
    ring = KeyRing(tmp_path)
    ring.ensure()
    first = ring.signing().kid
    second = ring.rotate()
    assert ring.signing().kid == second
    assert first.encode() in ring.jwks()
    assert second.encode() in ring.jwks()
    ring.rotate()
    assert first.encode() not in ring.jwks()
    assert len(list(tmp_path.glob("jwt-*.pem"))) == 2


def test_a_rotation_is_audited(auth: Auth, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The command that changes the signing key leaves a line that names the new one."""
    monkeypatch.setenv("ACCIDENT_RECO_HOME", str(auth.settings.home))
    monkeypatch.setattr("sys.argv", ["serving.auth", "rotate-keys"])
    assert main() == 0
    line = accounts.audit_lines(Warehouse(auth.settings.database), 1)[0]
    assert (line["actor"], line["action"]) == ("system", "keys.rotate")
    assert line["target"] in capsys.readouterr().out


def test_open_endpoints_have_a_rate_too(tmp_path: Path) -> None:
    """Whoever needs no token is limited by address."""
    with running_auth(tmp_path, rate_per_second=0.1, rate_burst=4) as auth:
        url = f"{auth.url}/token/revoke"
        codes = [httpx.post(url, data={"token": "x"}).status_code for _ in range(6)]
    assert codes == [200] * 4 + [429] * 2


def test_a_warehouse_that_fails_is_no_fault_of_the_caller(tmp_path: Path) -> None:
    """503 with Retry-After and no word of SQL; what goes to the log has no values, so no hashes."""
    with running_auth(tmp_path) as auth:
        warehouse = Warehouse(auth.settings.database)
        with warehouse.begin() as connection:
            connection.exec_driver_sql("DROP TABLE login_failures")
            connection.exec_driver_sql("DROP TABLE refresh_tokens")
        answer = auth.client.post("/token", data={"username": "admin", "password": auth.password})
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert "SQL" not in answer.text.upper().replace("SQLITE", "SQL")
        with pytest.raises(DBAPIError) as error:
            accounts.add_refresh_token(warehouse, "the-hash", "f", "admin", "predict", timedelta(days=1))
        assert "the-hash" not in str(error.value)


ODD_TEXT = [
    "",
    " ",
    "\u0000",
    "a\u0000b",
    "admin\u0000",
    "\u202e",
    "' OR '1'='1",
    "ADMIN\n",
    "\U0001f600" * 8,
    "\uff41dmin",
    "..",
    "%00",
    "a" * 64,
]


@pytest.mark.parametrize("text", ODD_TEXT)
def test_odd_text_is_nobody(auth: Auth, text: str) -> None:
    """Names, tokens, ids: text that no account has is refused, never an error of ours."""
    for data in ({"username": text, "password": "x"}, {"grant_type": "refresh_token", "refresh_token": text}):
        assert auth.client.post("/token", data=data).status_code in (400, 401, 429)
    assert auth.client.post("/token/revoke", data={"token": text}).status_code in (200, 422)
    headers, quoted = auth.headers(), quote(text, safe="")
    for path in (f"/users/{quoted}", f"/api-keys/{quoted}"):
        assert auth.client.delete(path, headers=headers).status_code in (404, 405, 422)
    assert auth.client.delete(f"/users/{quoted}/data", headers=headers).status_code in (200, 404, 422)


def test_erasing_what_an_account_asked_for(auth: Auth) -> None:
    """The account's predictions go, others' stay, and the audit log says who erased."""
    warehouse = Warehouse(auth.settings.database)
    common = {
        "request_id": "r",
        "at": accounts.now(),
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
