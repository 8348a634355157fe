"""The guard's decisions on requests without a server: credentials, scopes, rates, and the exact problem of each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from starlette.requests import Request

from accident_reco.settings import Settings
from accident_reco.storage import accounts
from accident_reco.storage.accounts import REVOKED_FOR, add_user, revoke_user_tokens, token_revocations
from accident_reco.storage.clock import utc_now
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.live import wait_for
from accident_reco_tests.unit.serving.conftest import Forge
from serving.auth.keys import KeyRing
from serving.common.api_keys import generate_key
from serving.common.guard import UNAUTHORISED, Guard, RequiredScope, build_guard
from serving.common.identity import ANONYMOUS, Principal
from serving.common.jwks import Jwks
from serving.common.problems import Problem
from serving.common.revocations import POLL_SECONDS, Revocations

INVALID = 'Bearer realm="accident_reco", error="invalid_token"'
MALFORMED = 'Bearer realm="accident_reco", error="invalid_request"'
PLAIN = 'Bearer realm="accident_reco"'
UNKNOWN_KEY = "ark_" + "0" * 16 + "_" + "a" * 43


def request(*headers: tuple[str, str], host: str | None = "10.0.0.1") -> Request:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    client = (host, 1) if host else None
    return Request({"type": "http", "headers": raw, "client": client, "state": {}})


def bearer(token: str, host: str | None = "10.0.0.1") -> Request:
    return request(("Authorization", f"Bearer {token}"), host=host)


def admit(guard: Guard, incoming: Request, scope: str = "predict") -> Principal:
    return asyncio.run(guard.authorize(incoming, scope))


def refused(guard: Guard, incoming: Request, scope: str = "predict") -> Problem:
    with pytest.raises(Problem) as caught:
        admit(guard, incoming, scope)
    return caught.value


def challenge(problem: Problem) -> tuple[int, str, str]:
    assert problem.headers is not None
    return problem.status_code, str(problem.detail), problem.headers["WWW-Authenticate"]


@pytest.fixture
def guard(settings: Settings, warehouse: Warehouse, jwks: Jwks) -> Guard:
    return Guard(settings, warehouse, jwks)


def test_a_good_token_is_admitted_and_the_request_knows_who(guard: Guard, forge: Forge) -> None:
    """The principal is returned and left on the request, with the subject by itself for the log."""
    incoming = bearer(forge())
    ada = Principal("ada", frozenset({"predict", "monitor"}))
    assert admit(guard, incoming) == ada
    assert incoming.scope["state"] == {"principal": ada, "subject": "ada"}


def test_tokens_issued_before_a_revocation_are_rejected(guard: Guard, forge: Forge, warehouse: Warehouse) -> None:
    """Also one that is verified already; those issued later, other accounts' and API keys are admitted."""
    add_user(warehouse, "ada", "hash", "user")
    now = time.time()
    early = forge(iat=now)
    assert admit(guard, bearer(early)).issued_at == now
    revoke_user_tokens(warehouse, "ada")
    guard.start()
    try:
        wait_for(lambda: guard._revocations.is_revoked(Principal("ada", frozenset(), now)))
    finally:
        guard.stop()
    assert challenge(refused(guard, bearer(early, host="10.0.0.2")))[0] == 401
    assert admit(guard, bearer(forge(iat=time.time()), host="10.0.0.3")).subject == "ada"
    assert admit(guard, bearer(forge(sub="bob", iat=now), host="10.0.0.4")).subject == "bob"
    assert not guard._revocations.is_revoked(Principal("ada", frozenset()))


def test_revocations_are_kept_while_the_warehouse_is_away_and_as_long_as_a_token_lasts(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of the last read applies; rows older than the longest lifetime of a token are deleted."""
    for name in ("ada", "bob"):
        add_user(warehouse, name, "hash", "user")
    revoke_user_tokens(warehouse, "ada")
    list_of_service = Revocations(warehouse)
    list_of_service.refresh()
    token = Principal("ada", frozenset(), 0.0)
    assert list_of_service.is_revoked(token)
    away = Revocations(Warehouse("sqlite:////nowhere/warehouse.db"))
    away._revoked = list_of_service._revoked
    assert away._poll() == POLL_SECONDS
    assert away.is_revoked(token)
    later = utc_now() + REVOKED_FOR + timedelta(seconds=1)
    monkeypatch.setattr("accident_reco.storage.accounts.utc_now", lambda: later)
    revoke_user_tokens(warehouse, "bob")
    assert token_revocations(warehouse) == {"bob": later.timestamp()}


def test_a_missing_scope_is_named(guard: Guard, forge: Forge) -> None:
    """403 with the scope in the detail and in the challenge."""
    problem = refused(guard, bearer(forge()), "train")
    assert challenge(problem) == (
        403,
        "This requires the scope train.",
        'Bearer realm="accident_reco", error="insufficient_scope", scope="train"',
    )
    assert problem.kind == "missing-scope"


@pytest.mark.parametrize(
    ("headers", "reason", "www"),
    [
        ([], "no credentials", PLAIN),
        ([("Authorization", "Basic YTpi")], "the Authorization header is not: Bearer <token>", MALFORMED),
        ([("Authorization", "Bearer")], "the Authorization header is not: Bearer <token>", MALFORMED),
        ([("Authorization", "Bearer   ")], "the Authorization header is not: Bearer <token>", MALFORMED),
        ([("Authorization", "Bearer a"), ("Authorization", "Bearer b")], "several Authorization headers", MALFORMED),
        ([("Authorization", "Bearer a.b.c")], "the token is not valid", INVALID),
        ([("Authorization", "Bearer a b")], "the token is not valid", INVALID),
        ([("X-API-Key", UNKNOWN_KEY)], "the API key is not valid", INVALID),
        ([("X-API-Key", "")], "the token is not valid", INVALID),
        ([("Authorization", "Bearer x"), ("X-API-Key", "y")], "the token is not valid", INVALID),
    ],
)
def test_bad_credentials_and_their_challenge(guard: Guard, headers: list, reason: str, www: str) -> None:
    """401: without credentials no error code, for a malformed header `invalid_request`, else `invalid_token`.

    The text is always the same; the reason is left on the request for the log.
    """
    incoming = request(*headers)
    problem = refused(guard, incoming)
    assert challenge(problem) == (401, UNAUTHORISED, www)
    assert problem.kind == "unauthorised"
    assert incoming.scope["state"] == {"refusal": reason}


@pytest.mark.parametrize("claims", [{"iss": "audience"}, {"aud": "issuer"}], ids=str)
def test_tokens_of_another_issuer_or_for_another_audience_are_refused(guard: Guard, forge: Forge, claims: dict) -> None:
    """The settings' issuer and audience reach the verifier."""
    assert challenge(refused(guard, bearer(forge(**claims)))) == (401, UNAUTHORISED, INVALID)


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER   "])
def test_the_scheme_is_read_in_any_case(guard: Guard, forge: Forge, scheme: str) -> None:
    """HTTP's schemes have no case; blanks around the token do not count."""
    assert admit(guard, request(("Authorization", f"{scheme}{forge()} "))).subject == "ada"


@pytest.mark.parametrize("header", ["X-API-Key", "Authorization"])
def test_an_api_key_is_looked_up_once(
    guard: Guard, warehouse: Warehouse, header: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In either header; the second request is served from memory, for a bad key too."""
    key_id, key, digest = generate_key()
    accounts.add_api_key(
        warehouse,
        {
            "id": key_id,
            "secret_hash": digest,
            "name": "m",
            "scopes": ["predict"],
            "created_by": "ada",
            "created_at": datetime.now(UTC),
        },
    )
    for given, good in ((key, True), (UNKNOWN_KEY, False)):
        value = given if header == "X-API-Key" else f"Bearer {given}"
        for _ in range(2):
            if good:
                assert admit(guard, request((header, value))).subject == f"key:{key_id}"
            else:
                assert refused(guard, request((header, value))).status_code == 401
            monkeypatch.setattr("serving.common.api_keys.ApiKeys.look_up", None)
        monkeypatch.undo()


def rates(guard: Guard, incoming: Callable[[], Request], times: int = 5) -> list[tuple[int, str | None]]:
    answers = []
    for _ in range(times):
        try:
            admit(guard, incoming())
            answers.append((200, None))
        except Problem as problem:
            answers.append((problem.status_code, (problem.headers or {}).get("Retry-After")))
    return answers


@pytest.fixture
def frozen(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> Guard:
    """The guard with a clock that stands still: bursts of three, half a second to the next."""
    monkeypatch.setattr(guard._rate, "_clock", lambda: 0.0)
    return guard


def test_an_account_has_one_rate_from_every_address(frozen: Guard, forge: Forge) -> None:
    """Tokens of one account share its bucket; another account at the same address has its own."""
    hosts = iter(f"10.0.0.{n}" for n in range(9))
    assert rates(frozen, lambda: bearer(forge(), host=next(hosts))) == [(200, None)] * 3 + [(429, "1")] * 2
    assert admit(frozen, bearer(forge(sub="bob"))).subject == "bob"


@pytest.mark.parametrize("headers", [[], [("Authorization", "Bearer a.b.c")], [("X-API-Key", UNKNOWN_KEY)]])
def test_failed_logins_are_limited_by_address(frozen: Guard, forge: Forge, headers: list) -> None:
    """Guessing costs the guesser's address its burst, not the accounts behind it, nor other addresses."""
    assert rates(frozen, lambda: request(*headers)) == [(401, None)] * 3 + [(429, "1")] * 2
    assert refused(frozen, request(*headers, host="10.0.0.2")).status_code == 401
    assert admit(frozen, bearer(forge())).subject == "ada"


def test_a_limited_request_gets_the_seconds_to_wait(frozen: Guard, settings: Settings) -> None:
    """429 with whole seconds, rounded up; a client without an address has a bucket as well."""
    frozen._rate._rate = 0.4
    unknown = request(host=None)
    for _ in range(3):
        asyncio.run(frozen.rate_limit_by_address(unknown))
    with pytest.raises(Problem) as caught:
        asyncio.run(frozen.rate_limit_by_address(unknown))
    problem = caught.value
    assert (problem.status_code, problem.detail, problem.kind) == (429, "Too many requests.", "rate-limited")
    assert problem.headers == {"Retry-After": "3"}
    asyncio.run(frozen.rate_limit_by_address(request()))
    assert list(frozen._rate._buckets) == ["address:", "address:10.0.0.1"]


def test_without_authentication_everybody_is_anonymous_and_limited_by_address(
    settings: Settings, warehouse: Warehouse, jwks: Jwks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a setting turned it off, credentials are not read, every scope is granted, addresses keep their rate."""
    guard = Guard(settings.model_copy(update={"auth_required": False}), warehouse, jwks)
    monkeypatch.setattr(guard._rate, "_clock", lambda: 0.0)
    incoming = request(("Authorization", "Basic x"))
    assert admit(guard, incoming, "admin") is ANONYMOUS
    assert incoming.scope["state"] == {"principal": ANONYMOUS, "subject": "anonymous"}
    assert rates(guard, request, 3) == [(200, None), (200, None), (429, "1")]
    assert admit(guard, request(host="10.0.0.2")) is ANONYMOUS


@pytest.mark.parametrize(
    ("present", "outcome"),
    [
        (lambda _: None, UNAUTHORISED),
        (lambda _: frozenset({"monitor", "admin"}), "This requires the scope predict."),
        (lambda who: who.scopes, None),
    ],
    ids=["gone", "other scopes", "as before"],
)
def test_what_a_principal_may_do_now_is_looked_up(
    settings: Settings, warehouse: Warehouse, jwks: Jwks, forge: Forge, present: Callable, outcome: str | None
) -> None:
    """A service that knows the accounts honours a change at once: gone is 401, scopes are those of both."""
    guard, incoming = Guard(settings, warehouse, jwks, present), bearer(forge())
    if outcome is None:
        assert admit(guard, incoming).scopes == {"predict", "monitor"}
        return
    problem = refused(guard, incoming)
    assert problem.detail == outcome
    if problem.status_code == 401:
        assert challenge(problem) == (401, UNAUTHORISED, INVALID)
        assert incoming.scope["state"]["refusal"] == "the account is removed or disabled"
    else:
        assert incoming.scope["state"]["principal"].scopes == {"monitor"}


def test_an_unknown_key_is_worth_one_refresh(
    settings: Settings, warehouse: Warehouse, ring: KeyRing, forge: Forge
) -> None:
    """Keys that were not fetched yet are fetched for the first token; an id that stays unknown is a 401."""
    jwks = Jwks(ring.jwks, cache=None)
    guard = Guard(settings, warehouse, jwks)
    assert admit(guard, bearer(forge())).subject == "ada"
    incoming = bearer(forge({"kid": "0" * 16}))
    assert challenge(refused(guard, incoming)) == (401, UNAUTHORISED, INVALID)
    assert incoming.scope["state"]["refusal"] == "the token is signed with an unknown key"


def test_refreshes_are_rationed(settings: Settings, warehouse: Warehouse, ring: KeyRing, forge: Forge) -> None:
    """Unknown ids in a row fetch once; until keys are there the service, not the token, is the problem: 503."""
    fetched: list[int] = []

    def fail() -> bytes:
        fetched.append(1)
        raise OSError("down")

    guard = Guard(settings, warehouse, Jwks(fail, cache=None))
    for _ in range(2):
        problem = refused(guard, bearer(forge()))
        assert (problem.status_code, problem.detail, problem.kind, problem.headers) == (
            503,
            "The auth service's public keys are not available yet.",
            "auth-unavailable",
            {"Retry-After": "2"},
        )
    assert len(fetched) == 1


def test_an_endpoint_requires_a_scope_that_exists(guard: Guard, forge: Forge) -> None:
    """The dependency carries guard and scope; a misspelt scope fails where the endpoint is declared."""
    required = guard.require("predict").dependency
    assert isinstance(required, RequiredScope)
    assert (required.guard, required.scope) == (guard, "predict")
    assert asyncio.run(required()) is None
    incoming = bearer(forge())
    asyncio.run(required.check(incoming))
    assert incoming.scope["state"]["subject"] == "ada"
    with pytest.raises(Problem):
        asyncio.run(guard.require("train").dependency.check(incoming))
    with pytest.raises(ValueError, match=r"^unknown scope fly; scopes are predict, feedback, monitor, train, admin$"):
        guard.require("fly")


@pytest.mark.parametrize("required", [True, False])
def test_status_names_a_problem_with_the_keys_where_they_are_needed(
    settings: Settings, warehouse: Warehouse, ring: KeyRing, required: bool
) -> None:
    """Not fetched yet is a problem of a service that verifies tokens, and of no other."""
    jwks = Jwks(ring.jwks, cache=None)
    guard = Guard(settings.model_copy(update={"auth_required": required}), warehouse, jwks)
    problem = {"problem": "not fetched yet"} if required else {}
    assert guard.status() == {"auth": {"required": required, **problem}}
    jwks.refresh()
    assert guard.status() == {"auth": {"required": required}}


@pytest.mark.parametrize("required", [True, False])
def test_keys_are_kept_fresh_where_they_are_needed(
    settings: Settings, warehouse: Warehouse, ring: KeyRing, required: bool
) -> None:
    """A service that verifies tokens starts the refreshing thread, and stopping ends it."""
    jwks = Jwks(ring.jwks, cache=None)
    guard = Guard(settings.model_copy(update={"auth_required": required}), warehouse, jwks)
    guard.start()
    assert jwks._task.is_running is required
    guard.stop()
    assert jwks._task._stop.is_set()
    assert not jwks._task.is_running


def test_a_services_guard_fetches_and_caches_the_auth_services_keys(
    settings: Settings, warehouse: Warehouse, ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The URL of the settings, and a cache in the home that outlives the process."""
    urls: list[str] = []
    monkeypatch.setattr("serving.common.guard.build_http_fetch", lambda url: urls.append(url) or ring.jwks)
    guard = build_guard(settings, warehouse)
    guard.jwks.refresh()
    assert urls == [settings.keys_url]
    assert (settings.home / "cache" / "jwks.json").read_bytes() == ring.jwks()
    assert guard.required is True
    assert guard._api_keys._warehouse is warehouse
