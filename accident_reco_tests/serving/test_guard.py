"""Who is let in: tokens of every bad kind, scopes, keys of machines, rates, and life without the auth service."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from accident_reco.settings import Settings
from accident_reco_tests.serving.accounts import Auth, running_auth
from accident_reco_tests.serving.live import live, wait_for
from accident_reco_tests.serving.toy import LOADERS, promote, toy_bundle
from serving.auth.keys import KeyRing
from serving.common.jwks import Jwks, parse_jwks
from serving.common.rate import RateLimiter
from serving.predict.app import create_app

URL = "/predict/accidents"
BODY = {"records": [{}]}
PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def auth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Auth]:
    with running_auth(tmp_path_factory.mktemp("guard")) as running:
        running.add_user("ada", PASSWORD)
        yield running


@pytest.fixture(scope="module")
def predict(auth: Auth) -> Iterator[httpx.Client]:
    promote(auth.settings.home, toy_bundle())
    with live(create_app(Settings.load(home=auth.settings.home, public_auth_url=auth.url), LOADERS)) as client:
        yield client


def b64(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Forge:
    """Makes tokens, right ones and wrong ones, with the service's own key and with others."""

    def __init__(self, auth: Auth) -> None:
        self.key = KeyRing(auth.settings.keys).signing()
        now = int(time.time())
        self.claims = {
            "iss": "accident_reco",
            "aud": "accident_reco",
            "sub": "ada",
            "scope": "predict",
            "jti": "1",
            "iat": now,
            "exp": now + 60,
        }
        self.public = self.key.private.public_key()

    def token(
        self, *, key: Any = None, algorithm: str = "EdDSA", header: dict[str, Any] | None = None, **claims: Any
    ) -> str:
        merged = {k: v for k, v in (self.claims | claims).items() if v is not None}
        headers = {"kid": self.key.kid, "typ": "at+jwt"} | (header or {})
        return jwt.encode(merged, key or self.key.private, algorithm=algorithm, headers=headers)

    def confused(self, form: Callable[[Any], bytes]) -> str:
        """HS256 with the public key as the secret: the classic confusion of algorithms."""
        import hashlib
        import hmac

        head = b64({"alg": "HS256", "kid": self.key.kid, "typ": "at+jwt"}) + "." + b64(self.claims)
        return head + "." + b64(hmac.new(form(self.public), head.encode(), hashlib.sha256).digest())

    def unsigned(self, algorithm: str) -> str:
        return f"{b64({'alg': algorithm, 'kid': self.key.kid, 'typ': 'at+jwt'})}.{b64(self.claims)}."


@pytest.fixture(scope="module")
def forge(auth: Auth) -> Forge:
    return Forge(auth)


def test_the_forge_can_make_a_good_token(predict: httpx.Client, forge: Forge) -> None:
    """Otherwise the refusals below would prove nothing."""
    answer = predict.post(URL, json=BODY, headers={"Authorization": f"Bearer {forge.token()}"})
    assert answer.status_code == 200


def pem(key: Any) -> bytes:
    return bytes(key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))


def raw(key: Any) -> bytes:
    return bytes(key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw))


BAD_TOKENS: dict[str, Callable[[Forge], str]] = {
    "alg none": lambda f: f.unsigned("none"),
    "alg None": lambda f: f.unsigned("None"),
    "no signature": lambda f: f.unsigned("EdDSA"),
    "HS256 with the public PEM": lambda f: f.confused(pem),
    "HS256 with the public bytes": lambda f: f.confused(raw),
    "another key, our kid": lambda f: f.token(key=Ed25519PrivateKey.generate()),
    "unknown kid": lambda f: f.token(header={"kid": "0" * 16}),
    "kid as a path": lambda f: f.token(header={"kid": "../../etc/passwd"}),
    "key in the header": lambda f: f.token(key=Ed25519PrivateKey.generate(), header={"jwk": {"kty": "OKP"}}),
    "key by URL": lambda f: f.token(header={"kid": "x", "jku": "http://127.0.0.1:1/jwks.json"}),
    "wrong type": lambda f: f.token(header={"typ": "JWT"}),
    "wrong audience": lambda f: f.token(aud="somebody else"),
    "wrong issuer": lambda f: f.token(iss="somebody else"),
    "expired": lambda f: f.token(exp=int(time.time()) - 60),
    "not yet": lambda f: f.token(iat=int(time.time()) + 3600),
    "not before an hour": lambda f: f.token(nbf=int(time.time()) + 3600),
    "expiry is endless": lambda f: f.token(exp=float("inf")),
    "a critical extension": lambda f: f.token(header={"crit": ["b64"], "b64": False}),
    "an unknown critical extension": lambda f: f.token(header={"crit": ["x"], "x": 1}),
    "kid is a list": lambda f: ".".join(
        [b64({"alg": "EdDSA", "typ": "at+jwt", "kid": [f.key.kid]}), *f.token().split(".")[1:]]
    ),
    "certificate in the header": lambda f: f.token(key=Ed25519PrivateKey.generate(), header={"x5c": ["AAAA"]}),
    "another case of the algorithm": lambda f: ".".join(
        [b64({"alg": "eddsa", "typ": "at+jwt", "kid": f.key.kid}), *f.token().split(".")[1:]]
    ),
    "ES256 by its own key": lambda f: f.token(key=generate_private_key(SECP256R1()), algorithm="ES256"),
    "encrypted": lambda f: f.token() + ".a.b",
    "no expiry": lambda f: f.token(exp=None),
    "no subject": lambda f: f.token(sub=None),
    "no scope": lambda f: f.token(scope=None),
    "no id": lambda f: f.token(jti=None),
    "expiry is text": lambda f: f.token(exp="tomorrow"),
    "expiry is huge": lambda f: f.token(exp=10**400),
    "other claims, old signature": lambda f: ".".join(
        [f.token().split(".")[0], b64(f.claims | {"scope": "admin predict"}), f.token().split(".")[2]]
    ),
    "cut": lambda f: f.token()[:-3],
    "two dots": lambda f: "..",
    "nothing": lambda f: ".",
    "not base64": lambda f: "a$.b$.c$",
    "not JSON": lambda f: f"{b64(b'x')}.{b64(b'y')}.{b64(b'z')}",
    "deep JSON": lambda f: f"{b64(b'[' * 900)}.{b64(b'y')}.{b64(b'z')}",
    "long": lambda f: f.token() + "a" * 5000,
    "a refresh token": lambda f: "q" * 43,
    "an unknown API key": lambda f: "ark_" + "0" * 16 + "_" + "a" * 43,
    "an API key cut short": lambda f: "ark_",
    "an API key as SQL": lambda f: "ark_' OR 1=1 --",
}


@pytest.mark.parametrize("kind", BAD_TOKENS)
def test_bad_tokens_are_refused(predict: httpx.Client, forge: Forge, kind: str) -> None:
    """401 with a challenge, a problem, and no word of the token."""
    token = BAD_TOKENS[kind](forge)
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
def test_missing_and_odd_credentials(predict: httpx.Client, headers: Any) -> None:
    """No credentials, other schemes, two of them."""
    answer = predict.post(URL, json=BODY, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_missing_scope_is_403(predict: httpx.Client, forge: Forge) -> None:
    """Known, but not allowed: the challenge names the scope."""
    answer = predict.post(URL, json=BODY, headers={"Authorization": f"Bearer {forge.token(scope='feedback')}"})
    assert answer.status_code == 403
    assert 'scope="predict"' in answer.headers["www-authenticate"]


def test_who_may_not_ask_is_refused_before_the_body_is_read(predict: httpx.Client) -> None:
    """A body that would be 422 or 415 is 401 to a stranger: nothing of theirs is parsed."""
    assert predict.post(URL, content=b"[" * 1000, headers={"content-type": "application/json"}).status_code == 401
    assert predict.post(URL, content=b"x", headers={"content-type": "text/plain"}).status_code == 401


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/docs", "/openapi.json", "/v2/health/live"])
def test_what_is_open(predict: httpx.Client, path: str) -> None:
    """Health, metrics (on loopback) and docs, nothing else."""
    assert predict.get(path).status_code == 200


def test_everything_else_needs_a_token(predict: httpx.Client) -> None:
    """Every operation that the service documents, besides the open ones, answers 401 to a stranger."""
    opened = {"/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"}
    for path, operations in predict.get("/openapi.json").json()["paths"].items():
        for method, operation in operations.items():
            if path in opened:
                assert "security" not in operation
                continue
            assert operation["security"], path
            answer = predict.request(method, path.replace("{", "").replace("}", ""))
            assert answer.status_code == 401, (method, path)


def test_roles_become_scopes(predict: httpx.Client, auth: Auth) -> None:
    """A user predicts but does not roll back; an admin may ask for it."""
    rollback = {"reason": "a test"}
    user, admin = auth.headers("ada", PASSWORD), auth.headers()
    assert predict.post(URL, json=BODY, headers=user).status_code == 200
    assert predict.post("/models/accidents/rollback", json=rollback, headers=user).status_code == 403
    assert predict.post("/models/accidents/rollback", json=rollback, headers=admin).status_code == 409


def test_keys_of_machines_predict_until_they_are_revoked(
    predict: httpx.Client, auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In either header; a revoked key works on for no longer than it is remembered."""
    monkeypatch.setattr("serving.common.api_keys.CACHE_SECONDS", 0.05)
    admin = auth.headers()
    made = auth.client.post("/api-keys", json={"name": "m", "scopes": ["predict"]}, headers=admin).json()
    for headers in ({"X-API-Key": made["key"]}, {"Authorization": f"Bearer {made['key']}"}):
        assert predict.post(URL, json=BODY, headers=headers).status_code == 200
    assert auth.client.delete(f"/api-keys/{made['id']}", headers=admin).status_code == 204
    wait_for(lambda: predict.post(URL, json=BODY, headers={"X-API-Key": made["key"]}).status_code == 401, seconds=2)


def test_a_rotated_key_is_fetched_when_it_is_first_seen(tmp_path: Path) -> None:
    """Rotation needs no restart anywhere; tokens of the key before stay good."""
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
    """Tokens work on while the auth service is down, in a process that starts meanwhile too: the keys are cached."""
    with running_auth(tmp_path) as auth:
        promote(tmp_path, toy_bundle())
        headers = auth.headers()
        settings = Settings.load(home=tmp_path, public_auth_url=auth.url)
        with live(create_app(settings, LOADERS)) as predict:
            assert predict.post(URL, json=BODY, headers=headers).status_code == 200
    with live(create_app(settings, LOADERS)) as predict:
        assert predict.post(URL, json=BODY, headers=headers).status_code == 200
        wait_for(lambda: "problem" in predict.get("/readyz").json()["auth"])


def test_without_any_keys_the_service_says_so(tmp_path: Path) -> None:
    """Never reached the auth service, nothing cached: 503 with Retry-After, not a wrong 401."""
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
def test_documents_that_are_no_jwks(document: bytes) -> None:
    """A proxy's error page does not become a set of keys."""
    with pytest.raises(ValueError, match="JWKS"):
        parse_jwks(document)


def test_a_failing_refresh_keeps_the_known_keys(auth: Auth) -> None:
    """What was fetched once stays until something better comes."""
    documents = iter([KeyRing(auth.settings.keys).jwks(), b"<html>", b'{"keys": []}'])
    jwks = Jwks(lambda: next(documents), cache=None)
    for _ in range(3):
        jwks.refresh()
        assert len(jwks.keys) == 1
    assert jwks.problem is not None


def test_unknown_keys_ask_once(predict: httpx.Client, forge: Forge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up key ids at once are one question to the auth service, not one each."""
    asked = []
    monkeypatch.setattr("serving.common.jwks.Jwks.refresh", lambda _: (asked.append(1), time.sleep(0.2)))
    monkeypatch.setattr("serving.common.jwks.COOLDOWN_SECONDS", 0.0)
    jwks = Jwks(lambda: b"", cache=None)
    assert jwks.claim_refresh()
    monkeypatch.setattr("serving.common.jwks.COOLDOWN_SECONDS", 60.0)
    assert not jwks.claim_refresh()
    with ThreadPoolExecutor(10) as pool:
        headers = {"Authorization": f"Bearer {forge.token(header={'kid': 'made up'})}"}
        codes = list(
            pool.map(
                lambda _: httpx.post(f"{predict.base_url}{URL}", json=BODY, headers=headers).status_code, range(10)
            )
        )
    assert codes == [401] * 10
    assert len(asked) <= 1


def test_rate_limit_tells_when_to_come_back(tmp_path: Path) -> None:
    """429 with Retry-After, per identity: others are not held up."""
    with running_auth(tmp_path) as auth:
        auth.add_user("ada", PASSWORD)
        promote(tmp_path, toy_bundle())
        settings = Settings.load(home=tmp_path, public_auth_url=auth.url, rate_per_second=0.5, rate_burst=3)
        with live(create_app(settings, LOADERS)) as predict:
            busy, calm = auth.headers(), auth.headers("ada", PASSWORD)
            codes = [predict.post(URL, json=BODY, headers=busy).status_code for _ in range(5)]
            assert codes == [200, 200, 200, 429, 429]
            refused = predict.post(URL, json=BODY, headers=busy)
            assert int(refused.headers["retry-after"]) >= 1
            assert refused.json()["type"].endswith("rate-limited")
            assert predict.post(URL, json=BODY, headers=calm).status_code == 200
            strangers = [predict.post(URL, json=BODY).status_code for _ in range(5)]
            assert strangers == [401, 401, 401, 429, 429]


def test_token_bucket() -> None:
    """Burst, refill, and the wait that it states."""
    clock = [0.0]
    limiter = RateLimiter(2.0, 2, clock=lambda: clock[0])
    assert [limiter.acquire("a"), limiter.acquire("a")] == [0.0, 0.0]
    assert limiter.acquire("a") == pytest.approx(0.5)
    assert limiter.acquire("b") == 0.0
    clock[0] = 0.5
    assert limiter.acquire("a") == 0.0
    assert limiter.acquire("a") > 0
