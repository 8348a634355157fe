"""The issuer of tokens on a real warehouse: what a login gets, what a refresh keeps, and what ends it."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from typing import Any

import jwt
import pytest
from sqlalchemy import select

from accident_reco.settings import Settings
from accident_reco.storage import accounts
from accident_reco.storage.tables.accounts import refresh_tokens
from accident_reco.storage.warehouse import Warehouse
from serving.auth.issuing import Issuer, grant_scopes, hash_token
from serving.auth.keys import KeyRing

USER = frozenset({"predict", "feedback", "monitor"})


@pytest.fixture
def issuer(settings: Settings, warehouse: Warehouse, ring: KeyRing) -> Issuer:
    accounts.add_user(warehouse, "ada", "hash", "user")
    return Issuer(settings, warehouse, ring)


def claims_of(token: str, ring: KeyRing) -> dict[str, Any]:
    public = ring.signing().private.public_key()
    return jwt.decode(token, public, algorithms=["EdDSA"], audience="audience", issuer="issuer")


def rows(warehouse: Warehouse) -> list[dict[str, Any]]:
    with warehouse.connect() as connection:
        found = connection.execute(select(refresh_tokens).order_by(refresh_tokens.c.issued_at)).mappings()
        return [dict(row) for row in found]


@pytest.mark.parametrize(
    ("wanted", "scopes"),
    [("", USER), ("  ", USER), ("predict", {"predict"}), ("predict admin", {"predict"}), ("admin", set())],
)
def test_a_role_grants_what_is_requested_and_allowed(wanted: str, scopes: set[str]) -> None:
    """No request is everything that the role has; nothing allowed is nothing, not everything."""
    assert grant_scopes("user", wanted) == scopes


def test_a_token_is_kept_as_its_hash() -> None:
    """SHA-256 in hex; text that has no UTF-8 has a hash too."""
    assert hash_token("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert hash_token("\udcff") == hash_token("?")


def test_access_token_has_every_claim(issuer: Issuer, ring: KeyRing) -> None:
    """Issuer, audience, subject, sorted scopes, random id, issue and expiry in seconds; media type and key id."""
    before = int(time.time())
    tokens = [issuer.sign_access_token("ada", USER) for _ in range(2)]
    first, second = (claims_of(token, ring) for token in tokens)
    assert jwt.get_unverified_header(tokens[0]) == {"alg": "EdDSA", "kid": ring.signing().kid, "typ": "at+jwt"}
    assert before <= first["iat"] <= time.time()
    assert first == {
        "iss": "issuer",
        "aud": "audience",
        "sub": "ada",
        "scope": "feedback monitor predict",
        "jti": first["jti"],
        "iat": first["iat"],
        "exp": first["iat"] + 900,
    }
    assert re.fullmatch("[0-9a-f]{32}", first["jti"])
    assert first["jti"] != second["jti"]


def test_a_login_gets_both_tokens(issuer: Issuer, warehouse: Warehouse, ring: KeyRing) -> None:
    """The OAuth answer; the refresh token has 256 random bits and is stored as a hash, with its scopes and lifetime."""
    answer = issuer.issue({"name": "ada"}, USER)
    scope = "feedback monitor predict"
    assert claims_of(answer["access_token"], ring)["sub"] == "ada"
    assert answer == {
        "access_token": answer["access_token"],
        "token_type": "bearer",
        "expires_in": 900,
        "refresh_token": answer["refresh_token"],
        "scope": scope,
    }
    assert re.fullmatch("[A-Za-z0-9_-]{43}", answer["refresh_token"])
    (row,) = rows(warehouse)
    assert (row["hash"], row["user_name"], row["scope"]) == (hash_token(answer["refresh_token"]), "ada", scope)
    assert re.fullmatch("[0-9a-f]{32}", row["family"])
    assert row["expires_at"] - row["issued_at"] == timedelta(days=14)


def test_a_refresh_token_is_used_up_and_followed(issuer: Issuer, warehouse: Warehouse, ring: KeyRing) -> None:
    """Same login, same scopes, a new token of full lifetime; using the old one again ends the login."""
    first = issuer.issue({"name": "ada"}, USER)
    outcome, row, second = issuer.refresh(first["refresh_token"])
    assert (outcome, row["user_name"]) == ("ok", "ada")
    assert second["scope"] == "feedback monitor predict"
    assert claims_of(second["access_token"], ring)["sub"] == "ada"
    assert re.fullmatch("[A-Za-z0-9_-]{43}", second["refresh_token"])
    old, new = rows(warehouse)
    assert (new["hash"], new["family"]) == (hash_token(second["refresh_token"]), old["family"])
    assert new["expires_at"] - new["issued_at"] == timedelta(days=14)
    outcome, row, answer = issuer.refresh(first["refresh_token"])
    assert (outcome, row["user_name"], answer) == ("reused", "ada", None)
    assert issuer.refresh(second["refresh_token"])[::2] == ("revoked", None)


def test_an_unknown_token_gets_nothing(issuer: Issuer) -> None:
    """No row and no answer."""
    assert issuer.refresh("unknown") == ("unknown", None, None)


@pytest.mark.parametrize(
    ("wanted", "scope"), [("", "monitor predict"), (" ", "monitor predict"), ("predict admin", "predict")]
)
def test_a_refresh_may_request_less(issuer: Issuer, wanted: str, scope: str) -> None:
    """Of the login's scopes, never more than these."""
    token = issuer.issue({"name": "ada"}, frozenset({"predict", "monitor"}))["refresh_token"]
    _, _, answer = issuer.refresh(token, wanted)
    assert answer["scope"] == scope


def test_a_refresh_for_no_scope_of_the_login_is_refused(issuer: Issuer) -> None:
    """Requesting only what the login lacks gives no token, with the row for the audit."""
    token = issuer.issue({"name": "ada"}, frozenset({"predict"}))["refresh_token"]
    outcome, row, answer = issuer.refresh(token, "monitor")
    assert (outcome, row["user_name"], answer) == ("no scope", "ada", None)


def test_a_role_that_was_taken_away_takes_its_scopes_along(issuer: Issuer, warehouse: Warehouse) -> None:
    """An admin who became a user refreshes as a user."""
    token = issuer.issue({"name": "ada"}, frozenset({"admin", "predict"}))["refresh_token"]
    _, _, answer = issuer.refresh(token)
    assert answer["scope"] == "predict"


def test_a_disabled_account_refreshes_no_more(issuer: Issuer, warehouse: Warehouse) -> None:
    """Its tokens are still good by themselves; the account is not."""
    token = issuer.issue({"name": "ada"}, USER)["refresh_token"]
    accounts.change_user(warehouse, "ada", {"disabled": True}, keep_an_admin=False)
    outcome, row, answer = issuer.refresh(token)
    assert (outcome, row["user_name"], answer) == ("disabled", "ada", None)


def test_an_account_that_is_removed_meanwhile_refreshes_no_more(
    issuer: Issuer, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deletion that comes between the look at the token and at the account."""
    token, look = issuer.issue({"name": "ada"}, USER)["refresh_token"], accounts.user

    def removed_meanwhile(place: Warehouse, name: str) -> dict[str, Any] | None:
        assert accounts.remove_user(place, name) == "removed"
        return look(place, name)

    monkeypatch.setattr(accounts, "user", removed_meanwhile)
    outcome, row, answer = issuer.refresh(token)
    assert (outcome, row["user_name"], answer) == ("disabled", "ada", None)
