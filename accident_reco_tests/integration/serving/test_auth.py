"""The auth service over real HTTP: first start, logins, refresh, logout, key rotation, failures."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import httpx
import jwt
import pytest
from sqlalchemy.exc import DBAPIError

from accident_reco.settings import Settings
from accident_reco.storage import accounts
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.accounts import PASSWORD, Auth, prepare_home, running_auth
from accident_reco_tests.support.unusual_text import UNUSUAL_TEXT
from serving.auth.__main__ import main
from serving.auth.bootstrap import ensure_admin
from serving.auth.issuing import hash_token
from serving.auth.keys import KeyRing


def test_first_start_creates_one_admin_with_a_random_password(tmp_path: Path) -> None:
    """The password is returned once and stored in a file of mode 0600; a second start returns none."""
    settings, password = prepare_home(tmp_path)
    assert len(password) >= 20
    assert ensure_admin(settings) is None
    file = settings.keys / "admin-password"
    assert file.read_text().strip() == password
    for file in settings.keys.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name


def test_a_stated_admin_password_is_not_shown(tmp_path: Path) -> None:
    """A password from the settings is neither printed nor stored."""
    settings = Settings.load(home=tmp_path, admin_password="stated by the operator")
    Warehouse(settings.database).upgrade()
    assert ensure_admin(settings) is None
    assert not (settings.keys / "admin-password").exists()


def test_access_token_claims(auth: Auth) -> None:
    """iss, aud, sub, scope, jti, kid; Ed25519; verifiable with the published key."""
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


def test_a_login_may_request_fewer_scopes(auth: Auth) -> None:
    """Granted are the requested scopes that the role has; 400 where it has none of them."""
    assert auth.login("ada", PASSWORD, scope="predict admin")["scope"] == "predict"
    rejected = auth.client.post("/token", data={"username": "ada", "password": PASSWORD, "scope": "admin"})
    assert rejected.status_code == 400
    assert rejected.json()["error"] == "invalid_scope"


def test_refresh_rotates_and_reuse_ends_the_login(auth: Auth) -> None:
    """A refresh token works once; a second use revokes all tokens of the same login."""
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
    """RFC 6749, 6: a refresh may request fewer scopes than the login has; the next all of them, never more."""
    token = auth.login("ada", PASSWORD, scope="predict monitor")["refresh_token"]
    for requested, granted in (("monitor", "monitor"), ("predict admin feedback", "predict"), ("", "monitor predict")):
        data = {"grant_type": "refresh_token", "refresh_token": token, "scope": requested}
        answer = auth.client.post("/token", data=data).json()
        assert answer["scope"] == granted
        token = answer["refresh_token"]
    rejected = auth.client.post(
        "/token", data={"grant_type": "refresh_token", "refresh_token": token, "scope": "admin feedback"}
    )
    assert rejected.json()["error"] == "invalid_scope"


def test_reuse_during_a_refresh_revokes_its_result(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    """Concurrent use by thief and owner: the family is revoked with the token that is being issued."""
    token = auth.login("ada", PASSWORD)["refresh_token"]
    find, meanwhile = accounts.user, []

    def interrupted(warehouse: Warehouse, name: str) -> object:
        if not meanwhile:
            meanwhile.append(accounts.use_refresh_token(warehouse, hash_token(token), "0" * 64, timedelta(days=1))[0])
        return find(warehouse, name)

    monkeypatch.setattr("accident_reco.storage.accounts.user", interrupted)
    issued = auth.client.post("/token", data={"grant_type": "refresh_token", "refresh_token": token}).json()
    assert meanwhile == ["reused"]
    answer = auth.client.post("/token", data={"grant_type": "refresh_token", "refresh_token": issued["refresh_token"]})
    assert answer.status_code == 400, "a token of a revoked family works"


def test_kinds_of_tokens_are_not_interchangeable(auth: Auth) -> None:
    """Neither is an access token a refresh token nor the reverse, and none is read from the query string."""
    login = auth.login()
    data = {"grant_type": "refresh_token", "refresh_token": login["access_token"]}
    assert auth.client.post("/token", data=data).json()["error"] == "invalid_grant"
    as_bearer = {"Authorization": f"Bearer {login['refresh_token']}"}
    assert auth.client.get("/users", headers=as_bearer).status_code == 401
    assert auth.client.get(f"/users?access_token={login['access_token']}").status_code == 401


def test_revoking_ends_the_login(auth: Auth) -> None:
    """Logout revokes the refresh token; the response is the same for unknown tokens."""
    token = auth.login("ada", PASSWORD)["refresh_token"]
    assert auth.client.post("/token/revoke", data={"token": token}).status_code == 200
    assert auth.client.post("/token/revoke", data={"token": "unknown"}).status_code == 200
    answer = auth.client.post("/token", data={"grant_type": "refresh_token", "refresh_token": token})
    assert answer.status_code == 400


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
    """The command that rotates the signing key records the new key's id."""
    monkeypatch.setenv("ACCIDENT_RECO_HOME", str(auth.settings.home))
    monkeypatch.setattr("sys.argv", ["serving.auth", "rotate-keys"])
    assert main() == 0
    line = accounts.audit_lines(Warehouse(auth.settings.database), 1)[0]
    assert (line["actor"], line["action"]) == ("system", "keys.rotate")
    assert line["target"] in capsys.readouterr().out


def test_open_endpoints_are_rate_limited_by_address(tmp_path: Path) -> None:
    """429 after the burst."""
    with running_auth(tmp_path, rate_per_second=0.1, rate_burst=4) as auth:
        url = f"{auth.url}/token/revoke"
        codes = [httpx.post(url, data={"token": "x"}).status_code for _ in range(6)]
    assert codes == [200] * 4 + [429] * 2


def test_warehouse_failure_is_503(tmp_path: Path) -> None:
    """503 with Retry-After and without SQL; the logged error has no values, so no hashes."""
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


@pytest.mark.parametrize("text", UNUSUAL_TEXT)
def test_unusual_text_is_no_account(auth: Auth, text: str) -> None:
    """Names, tokens and ids with unusual text are rejected, never an internal error."""
    for data in ({"username": text, "password": "x"}, {"grant_type": "refresh_token", "refresh_token": text}):
        assert auth.client.post("/token", data=data).status_code in (400, 401, 429)
    assert auth.client.post("/token/revoke", data={"token": text}).status_code in (200, 422)
    headers, quoted = auth.headers(), quote(text, safe="")
    for path in (f"/users/{quoted}", f"/api-keys/{quoted}"):
        assert auth.client.delete(path, headers=headers).status_code in (404, 405, 422)
    assert auth.client.delete(f"/users/{quoted}/data", headers=headers).status_code in (200, 404, 422)
