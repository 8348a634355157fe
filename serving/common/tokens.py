"""Verifies access tokens offline: one algorithm, every claim required, verified tokens cached until they expire."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from typing import Final

import jwt

from serving.common.identity import SCOPES, Principal
from serving.common.jwks import Jwks

ALGORITHM: Final = "EdDSA"
TOKEN_TYPE: Final = "at+jwt"  # noqa: S105 - RFC 9068's media type, not a secret
# Allowed difference between the clocks of two machines.
LEEWAY_SECONDS: Final = 30
MAX_LENGTH: Final = 4096
MAX_CACHED: Final = 10_000


class InvalidToken(ValueError):
    """The token is not valid; the message has the reason, not the token."""


class UnknownKey(InvalidToken):
    """The token is signed with an unknown key."""


class TokenVerifier:
    """Verifies access tokens of one issuer for one audience. Used from one event loop."""

    def __init__(self, jwks: Jwks, issuer: str, audience: str) -> None:
        self.jwks = jwks
        self._issuer = issuer
        self._audience = audience
        self._cache: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()
        self._generation = jwks.generation

    def verify(self, token: str) -> Principal:
        """Principal of the token.

        Raises:
            UnknownKey: a refresh of the keys may help.
            InvalidToken: any other problem.
        """
        if self._generation != self.jwks.generation:
            # A key was withdrawn or added: cached tokens must be verified again.
            self._cache.clear()
            self._generation = self.jwks.generation
        digest = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        cached = self._cache.get(digest)
        if cached is not None:
            principal, expires = cached
            if time.time() < expires:
                return principal
            del self._cache[digest]
        principal, expires = self._check(token)
        self._cache[digest] = (principal, expires)
        if len(self._cache) > MAX_CACHED:
            self._cache.popitem(last=False)
        return principal

    def _check(self, token: str) -> tuple[Principal, float]:
        if len(token) > MAX_LENGTH:
            raise InvalidToken("the token is too long")
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") != ALGORITHM or header.get("typ") != TOKEN_TYPE:
                raise InvalidToken("the token is not an access token of this platform")
            key = self.jwks.keys.get(str(header.get("kid")))
            if key is None:
                raise UnknownKey("the token is signed with an unknown key")
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["iss", "aud", "sub", "exp", "iat", "jti", "scope"]},
            )
            scopes = frozenset(str(claims["scope"]).split()) & SCOPES.keys()
            principal = Principal(str(claims["sub"]), scopes, float(claims["iat"]))
            return principal, float(claims["exp"]) + LEEWAY_SECONDS
        except jwt.ExpiredSignatureError:
            raise InvalidToken("the token has expired") from None
        except jwt.InvalidTokenError:
            raise InvalidToken("the token is not valid") from None
        except (ValueError, TypeError, RecursionError, OverflowError) as error:
            if isinstance(error, InvalidToken):
                raise
            raise InvalidToken("the token is malformed") from None
