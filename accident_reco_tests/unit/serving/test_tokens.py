"""The verifier of access tokens: what each defect is called, which times count, and what is remembered for how long."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from accident_reco_tests.unit.serving.conftest import Forge
from serving.auth.keys import KeyRing
from serving.common.identity import Principal
from serving.common.jwks import Jwks
from serving.common.tokens import InvalidToken, TokenVerifier, UnknownKey

ADA = Principal("ada", frozenset({"predict", "monitor"}))
NOT_OURS = "the token is not an access token of this platform"
NOT_VALID = "the token is not valid"


@pytest.fixture
def verifier(jwks: Jwks) -> TokenVerifier:
    return TokenVerifier(jwks, "issuer", "audience")


class Clock:
    """Replaces the module's clock for what is remembered; the library keeps the real one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = float(int(time.time()))
        monkeypatch.setattr("serving.common.tokens.time", SimpleNamespace(time=lambda: self.now))


def test_a_good_token_names_its_subject_and_known_scopes(verifier: TokenVerifier, forge: Forge) -> None:
    """Scopes that the platform does not know grant nothing."""
    assert verifier.verify(forge()) == ADA
    assert verifier.verify(forge(scope="predict fly", sub="bob")) == Principal("bob", frozenset({"predict"}))


@pytest.mark.parametrize(
    ("header", "claims", "error", "message"),
    [
        ({"typ": "JWT"}, {}, InvalidToken, NOT_OURS),
        ({"kid": "0" * 16}, {}, UnknownKey, "the token is signed with an unknown key"),
        ({}, {"iss": "audience"}, InvalidToken, NOT_VALID),
        ({}, {"aud": "issuer"}, InvalidToken, NOT_VALID),
        *(
            ({}, {claim: None}, InvalidToken, NOT_VALID)
            for claim in ("iss", "aud", "sub", "exp", "iat", "jti", "scope")
        ),
        ({}, {"exp": 10**400}, InvalidToken, "the token is malformed"),
    ],
)
def test_each_defect_has_its_message(verifier: TokenVerifier, forge: Forge, header, claims, error, message) -> None:
    """An unknown key is an error of its own, because it is worth a refresh; every required claim is required."""
    with pytest.raises(InvalidToken) as caught:
        verifier.verify(forge(header, **claims))
    assert (type(caught.value), str(caught.value)) == (error, message)


def test_another_algorithm_is_not_ours_whatever_its_type(verifier: TokenVerifier, ring: KeyRing) -> None:
    """The right media type does not excuse another algorithm, nor the right algorithm another type."""
    import jwt

    token = jwt.encode(
        {"sub": "ada"}, "s" * 32, algorithm="HS256", headers={"kid": ring.signing().kid, "typ": "at+jwt"}
    )
    with pytest.raises(InvalidToken, match=f"^{NOT_OURS}$"):
        verifier.verify(token)


@pytest.mark.parametrize(
    ("token", "message"), [("", NOT_VALID), ("a.b.c", NOT_VALID), ("\udcff", "the token is malformed")]
)
def test_what_is_no_token_is_refused(verifier: TokenVerifier, token: str, message: str) -> None:
    """Empty, no JSON, and text that has no UTF-8: an InvalidToken, never another error."""
    with pytest.raises(InvalidToken, match=f"^{message}$"):
        verifier.verify(token)


@pytest.mark.parametrize(("seconds", "good"), [(-20, True), (-40, False)])
def test_expiry_has_a_leeway_of_half_a_minute(verifier: TokenVerifier, forge: Forge, seconds: int, good: bool) -> None:
    """Clocks of two machines may differ by 30 seconds, for expiry and for the time of issue."""
    now = int(time.time())
    if good:
        assert verifier.verify(forge(exp=now + seconds)) == ADA
        assert verifier.verify(forge(iat=now - seconds)) == ADA
    else:
        with pytest.raises(InvalidToken, match=r"^the token has expired$"):
            verifier.verify(forge(exp=now + seconds))
        with pytest.raises(InvalidToken, match=f"^{NOT_VALID}$"):
            verifier.verify(forge(iat=now - seconds))


def test_the_longest_token_is_verified_and_a_longer_one_is_not(
    verifier: TokenVerifier, forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit itself is allowed; beyond it nothing is parsed."""
    token = forge()
    monkeypatch.setattr("serving.common.tokens.MAX_LENGTH", len(token))
    assert verifier.verify(token) == ADA
    monkeypatch.setattr("serving.common.tokens.MAX_LENGTH", len(token) - 1)
    verifier.jwks.generation += 1
    with pytest.raises(InvalidToken, match=r"^the token is too long$"):
        verifier.verify(token)


def test_a_verified_token_is_remembered_until_it_expires(
    verifier: TokenVerifier, forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leeway included, and not a moment longer; without its key a token passes only where it is remembered."""
    clock = Clock(monkeypatch)
    token = forge(exp=int(clock.now) + 60)
    verifier.verify(token)
    verifier.jwks.keys = {}
    clock.now += 89
    assert verifier.verify(token) == ADA
    clock.now += 1
    for _ in range(2):
        with pytest.raises(UnknownKey):
            verifier.verify(token)
    clock.now -= 1
    with pytest.raises(UnknownKey):  # what had expired was forgotten
        verifier.verify(token)


def test_other_tokens_are_not_taken_for_a_remembered_one(verifier: TokenVerifier, forge: Forge) -> None:
    """The whole token is compared: one with another signature is verified anew."""
    token = forge()
    verifier.verify(token)
    with pytest.raises(InvalidToken):
        verifier.verify(token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB"))


def test_a_withdrawn_key_ends_what_was_verified_with_it(verifier: TokenVerifier, forge: Forge) -> None:
    """Another set of keys: every remembered token is verified again, once."""
    first, second = forge(), forge(sub="bob")
    verifier.verify(first)
    keys = verifier.jwks.keys
    verifier.jwks.keys, verifier.jwks.generation = {}, verifier.jwks.generation + 1
    with pytest.raises(UnknownKey):
        verifier.verify(first)
    verifier.jwks.keys, verifier.jwks.generation = keys, verifier.jwks.generation + 1
    verifier.verify(second)
    verifier.jwks.keys = {}
    assert verifier.verify(second) == Principal("bob", ADA.scopes)


def test_memory_is_bounded_and_the_first_is_forgotten_first(
    verifier: TokenVerifier, forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many tokens as the limit are remembered, the latest of them."""
    monkeypatch.setattr("serving.common.tokens.MAX_CACHED", 2)
    tokens = [forge(sub=name) for name in ("a1", "b1", "c1")]
    for token in tokens:
        verifier.verify(token)
    verifier.jwks.keys = {}
    assert [verifier.verify(token).subject for token in tokens[1:]] == ["b1", "c1"]
    with pytest.raises(UnknownKey):
        verifier.verify(tokens[0])
