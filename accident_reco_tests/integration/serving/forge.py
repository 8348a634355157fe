"""Access tokens for tests: valid ones, and invalid ones of every kind."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from accident_reco_tests.support.accounts import Auth
from serving.auth.keys import KeyRing


def b64(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Forge:
    """Signs tokens, valid and invalid, with the service's own key and with others."""

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
        head = b64({"alg": "HS256", "kid": self.key.kid, "typ": "at+jwt"}) + "." + b64(self.claims)
        return head + "." + b64(hmac.new(form(self.public), head.encode(), hashlib.sha256).digest())

    def unsigned(self, algorithm: str) -> str:
        return f"{b64({'alg': algorithm, 'kid': self.key.kid, 'typ': 'at+jwt'})}.{b64(self.claims)}."


def pem(key: Any) -> bytes:
    return bytes(key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))


def raw(key: Any) -> bytes:
    return bytes(key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw))


INVALID_TOKENS: dict[str, Callable[[Forge], str]] = {
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
    "wrong audience": lambda f: f.token(aud="another"),
    "wrong issuer": lambda f: f.token(iss="another"),
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
