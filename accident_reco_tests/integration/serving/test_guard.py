"""Authentication and authorization: tokens, scopes, API keys, rate limits, and an auth service that is down."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from accident_reco.settings import Settings
from accident_reco_tests.integration.serving.forge import INVALID_TOKENS, Forge
from accident_reco_tests.support.accounts import PASSWORD, Auth, running_auth
from accident_reco_tests.support.live import live, wait_for
from accident_reco_tests.support.toy import LOADERS, promote, toy_bundle
from serving.auth.keys import KeyRing
from serving.common.jwks import Jwks, parse_jwks
from serving.common.rate import RateLimiter
from serving.predict.app import create_app

URL = "/predict/accidents"
BODY = {"records": [{}]}


@pytest.fixture(scope="module")
def predict(auth: Auth) -> Iterator[httpx.Client]:
    promote(auth.settings.home, toy_bundle())
    with live(create_app(Settings.load(home=auth.settings.home, public_auth_url=auth.url), LOADERS)) as client:
        yield client


@pytest.fixture(scope="module")
def forge(auth: Auth) -> Forge:
    return Forge(auth)


def test_forged_valid_token_is_accepted(predict: httpx.Client, forge: Forge) -> None:
    """Otherwise the rejections below would prove nothing."""
    answer = predict.post(URL, json=BODY, headers={"Authorization": f"Bearer {forge.token()}"})
    assert answer.status_code == 200


def test_access_tokens_of_a_demoted_admin_end_in_other_services_too(auth: Auth, predict: httpx.Client) -> None:
    """Within seconds, not when they expire: a rollback is an admin's."""
    auth.add_user("walter", PASSWORD, "admin")
    headers = auth.headers("walter", PASSWORD)
    assert predict.post(URL, json=BODY, headers=headers).status_code == 200
    changed = auth.client.patch("/users/walter", json={"role": "user"}, headers=auth.headers())
    assert changed.status_code == 200
    wait_for(lambda: predict.post(URL, json=BODY, headers=headers).status_code == 401)
    assert predict.post(URL, json=BODY, headers=auth.headers("walter", PASSWORD)).status_code == 200


@pytest.mark.parametrize("kind", INVALID_TOKENS)
def test_invalid_tokens_are_rejected(predict: httpx.Client, forge: Forge, kind: str) -> None:
    """401 with a challenge and a problem that does not contain the token."""
    token = INVALID_TOKENS[kind](forge)
    answer = predict.post(URL, json=BODY, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401, answer.text
    assert answer.headers["www-authenticate"] == 'Bearer realm="accident_reco", error="invalid_token"'
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(token) < 3 or token not in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "bearer x y z"},
        {"X-API-Key": ""},
        {"X-API-Key": "ark_nonsense"},
        {"Authorization": "Bearer\tx"},
        {"Cookie": "access_token=x"},
        {"X-API-Key": b"ark_\xff\xfe"},
        [("Authorization", "Bearer a"), ("Authorization", "Bearer b")],
    ],
)
def test_missing_and_malformed_credentials(predict: httpx.Client, headers: Any) -> None:
    """401 without credentials, with other schemes, with two headers."""
    answer = predict.post(URL, json=BODY, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_missing_scope_is_403(predict: httpx.Client, forge: Forge) -> None:
    """Authenticated without the scope: the challenge names it."""
    answer = predict.post(URL, json=BODY, headers={"Authorization": f"Bearer {forge.token(scope='feedback')}"})
    assert answer.status_code == 403
    assert 'scope="predict"' in answer.headers["www-authenticate"]


def test_authorization_precedes_the_body(predict: httpx.Client) -> None:
    """A body that would be 422 or 415 is 401 without credentials: it is not parsed."""
    assert predict.post(URL, content=b"[" * 1000, headers={"content-type": "application/json"}).status_code == 401
    assert predict.post(URL, content=b"x", headers={"content-type": "text/plain"}).status_code == 401


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/docs", "/openapi.json", "/v2/health/live"])
def test_open_endpoints(predict: httpx.Client, path: str) -> None:
    """Health, metrics (on loopback) and docs need no token."""
    assert predict.get(path).status_code == 200


def test_all_other_endpoints_require_a_token(predict: httpx.Client) -> None:
    """Every documented operation but the open ones returns 401 without credentials."""
    open_paths = {"/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"}
    for path, operations in predict.get("/openapi.json").json()["paths"].items():
        for method, operation in operations.items():
            if path in open_paths:
                assert "security" not in operation
                continue
            assert operation["security"], path
            answer = predict.request(method, path.replace("{", "").replace("}", ""))
            assert answer.status_code == 401, (method, path)


def test_roles_have_scopes(predict: httpx.Client, auth: Auth) -> None:
    """A user may predict but not roll back; an admin may do both."""
    rollback = {"reason": "a test"}
    user, admin = auth.headers("ada", PASSWORD), auth.headers()
    assert predict.post(URL, json=BODY, headers=user).status_code == 200
    assert predict.post("/models/accidents/rollback", json=rollback, headers=user).status_code == 403
    assert predict.post("/models/accidents/rollback", json=rollback, headers=admin).status_code == 409


def test_api_keys_are_valid_until_they_are_revoked(
    predict: httpx.Client, auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In either header; a revoked key works for no longer than its result is cached."""
    monkeypatch.setattr("serving.common.api_keys.CACHE_SECONDS", 0.05)
    admin = auth.headers()
    created = auth.client.post("/api-keys", json={"name": "m", "scopes": ["predict"]}, headers=admin).json()
    for headers in ({"X-API-Key": created["key"]}, {"Authorization": f"Bearer {created['key']}"}):
        assert predict.post(URL, json=BODY, headers=headers).status_code == 200
    assert auth.client.delete(f"/api-keys/{created['id']}", headers=admin).status_code == 204
    wait_for(lambda: predict.post(URL, json=BODY, headers={"X-API-Key": created["key"]}).status_code == 401, seconds=2)


def test_a_rotated_key_is_fetched_on_first_use(tmp_path: Path) -> None:
    """Rotation needs no restart; tokens of the previous key stay valid."""
    with running_auth(tmp_path) as auth:
        promote(tmp_path, toy_bundle())
        with live(create_app(Settings.load(home=tmp_path, public_auth_url=auth.url), LOADERS)) as predict:
            old = auth.headers()
            assert predict.post(URL, json=BODY, headers=old).status_code == 200
            second = KeyRing(auth.settings.keys).rotate()
            wait_for(lambda: second in auth.client.get("/.well-known/jwks.json").text)
            new = auth.headers()
            assert jwt.get_unverified_header(new["Authorization"].split()[1])["kid"] == second
            wait_for(lambda: predict.post(URL, json=BODY, headers=new).status_code == 200)
            assert predict.post(URL, json=BODY, headers=old).status_code == 200


def test_verification_survives_the_auth_service(tmp_path: Path) -> None:
    """Tokens stay valid while the auth service is down, also in a process that starts meanwhile: keys are cached."""
    with running_auth(tmp_path) as auth:
        promote(tmp_path, toy_bundle())
        headers = auth.headers()
        settings = Settings.load(home=tmp_path, public_auth_url=auth.url)
        with live(create_app(settings, LOADERS)) as predict:
            assert predict.post(URL, json=BODY, headers=headers).status_code == 200
    with live(create_app(settings, LOADERS)) as predict:
        assert predict.post(URL, json=BODY, headers=headers).status_code == 200
        wait_for(lambda: "problem" in predict.get("/readyz").json()["auth"])


def test_without_keys_tokens_are_503(tmp_path: Path) -> None:
    """Auth service unreachable, nothing cached: 503 with Retry-After, not a misleading 401."""
    with running_auth(tmp_path) as auth:
        headers = auth.headers()
    promote(tmp_path, toy_bundle())
    with live(create_app(Settings.load(home=tmp_path, public_auth_url="http://127.0.0.1:1"), LOADERS)) as predict:
        answer = predict.post(URL, json=BODY, headers=headers)
        assert answer.status_code == 503
        assert answer.headers["retry-after"]


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys": 1}',
        b'{"keys": [1]}',
        b'{"keys": [{"kty": "OKP", "crv": "Ed25519"}]}',
        b'{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": "!"}]}',
        b"<html>",
    ],
)
def test_invalid_jwks_documents(document: bytes) -> None:
    """ValueError for other documents, such as the error page of a proxy."""
    with pytest.raises(ValueError, match="JWKS"):
        parse_jwks(document)


def test_a_failing_refresh_keeps_the_known_keys(auth: Auth) -> None:
    """Fetched keys stay until a valid document replaces them."""
    documents = iter([KeyRing(auth.settings.keys).jwks(), b"<html>", b'{"keys": []}'])
    jwks = Jwks(lambda: next(documents), cache=None)
    for _ in range(3):
        jwks.refresh()
        assert len(jwks.keys) == 1
    assert jwks.problem is not None


def test_unknown_keys_trigger_one_refresh(predict: httpx.Client, forge: Forge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parallel requests with forged key ids trigger at most one refresh."""
    refreshes = []
    monkeypatch.setattr("serving.common.jwks.Jwks.refresh", lambda _: (refreshes.append(1), time.sleep(0.2)))
    monkeypatch.setattr("serving.common.jwks.COOLDOWN_SECONDS", 0.0)
    jwks = Jwks(lambda: b"", cache=None)
    assert jwks.claim_refresh()
    monkeypatch.setattr("serving.common.jwks.COOLDOWN_SECONDS", 60.0)
    assert not jwks.claim_refresh()
    with ThreadPoolExecutor(10) as pool:
        headers = {"Authorization": f"Bearer {forge.token(header={'kid': 'forged'})}"}
        codes = list(
            pool.map(
                lambda _: httpx.post(f"{predict.base_url}{URL}", json=BODY, headers=headers).status_code, range(10)
            )
        )
    assert codes == [401] * 10
    assert len(refreshes) <= 1


def test_rate_limit_per_identity(tmp_path: Path) -> None:
    """429 with Retry-After; other identities are not affected."""
    with running_auth(tmp_path) as auth:
        auth.add_user("ada", PASSWORD)
        promote(tmp_path, toy_bundle())
        settings = Settings.load(home=tmp_path, public_auth_url=auth.url, rate_per_second=0.5, rate_burst=3)
        with live(create_app(settings, LOADERS)) as predict:
            busy, calm = auth.headers(), auth.headers("ada", PASSWORD)
            codes = [predict.post(URL, json=BODY, headers=busy).status_code for _ in range(5)]
            assert codes == [200, 200, 200, 429, 429]
            rejected = predict.post(URL, json=BODY, headers=busy)
            assert int(rejected.headers["retry-after"]) >= 1
            assert rejected.json()["type"].endswith("rate-limited")
            assert predict.post(URL, json=BODY, headers=calm).status_code == 200
            anonymous = [predict.post(URL, json=BODY).status_code for _ in range(5)]
            assert anonymous == [401, 401, 401, 429, 429]


def test_token_bucket() -> None:
    """Burst, refill, and the stated wait."""
    clock = [0.0]
    limiter = RateLimiter(2.0, 2, clock=lambda: clock[0])
    assert [limiter.acquire("a"), limiter.acquire("a")] == [0.0, 0.0]
    assert limiter.acquire("a") == pytest.approx(0.5)
    assert limiter.acquire("b") == 0.0
    clock[0] = 0.5
    assert limiter.acquire("a") == 0.0
    assert limiter.acquire("a") > 0
