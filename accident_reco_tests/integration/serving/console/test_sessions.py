"""Sessions: shared by workers and replicas, refreshed once, ended with the account, useless to readers of the rows."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, update

from accident_reco.launch.processes import free_port
from accident_reco.storage import console_sessions as store
from accident_reco.storage.clock import as_utc
from accident_reco.storage.tables.accounts import refresh_tokens
from accident_reco.storage.tables.console import console_sessions
from accident_reco_tests.support.accounts import PASSWORD
from accident_reco_tests.support.console import ConsolePlatform
from accident_reco_tests.support.live import live
from serving.console.app import create_app
from serving.console.sessions import COOKIE

OLD = datetime.now(UTC) - timedelta(hours=1)


@pytest.fixture
def account(platform: ConsolePlatform, request: pytest.FixtureRequest) -> str:
    """An account of this test alone."""
    name = f"s{abs(hash(request.node.name))}"
    body = {"name": name, "password": PASSWORD}
    assert platform.clients["auth"].post("/users", json=body, headers=platform.headers()).status_code == 201
    platform.passwords[name] = PASSWORD
    return name


@pytest.fixture(scope="module")
def replica(platform: ConsolePlatform) -> Iterator[str]:
    """URL of a second console on the same warehouse."""
    with live(create_app(platform.settings)) as client:
        yield str(client.base_url)


def age(platform: ConsolePlatform, account: str, **columns: Any) -> None:
    """Change the session of an account as time would."""
    with platform.warehouse.begin() as connection:
        changed = update(console_sessions).where(console_sessions.c.user_name == account).values(**columns)
        assert connection.execute(changed).rowcount == 1


def count_tokens(platform: ConsolePlatform, account: str, *conditions: Any) -> int:
    with platform.warehouse.connect() as connection:
        query = (
            select(func.count()).select_from(refresh_tokens).where(refresh_tokens.c.user_name == account, *conditions)
        )
        return int(connection.execute(query).scalar_one())


def test_parallel_requests_of_two_replicas_refresh_once(platform: ConsolePlatform, replica: str, account: str) -> None:
    """A refresh token is valid once: its second use would end the login everywhere."""
    with platform.log_in(account) as client:
        for _ in range(2):
            age(platform, account, token_expires_at=OLD)
            before = count_tokens(platform, account)
            cookies = {COOKIE: client.cookies[COOKIE]}

            def get(url: str, cookies: dict[str, str] = cookies) -> int:
                return httpx.get(f"{url}/", cookies=cookies, timeout=30).status_code

            with ThreadPoolExecutor(8) as pool:
                assert set(pool.map(get, [platform.url, replica] * 4)) == {200}
            assert count_tokens(platform, account) == before + 1
        assert count_tokens(platform, account, refresh_tokens.c.revoked_at.is_not(None)) == 0


def test_a_refresh_whose_worker_died_is_taken_over(platform: ConsolePlatform, account: str) -> None:
    """The claim of a refresh ends by itself."""
    with platform.log_in(account) as client:
        age(platform, account, token_expires_at=OLD, refreshing_until=OLD)
        assert client.get("/").status_code == 200


@pytest.mark.parametrize("column", ["used_at", "created_at"])
def test_a_session_ends_unused_and_in_any_case(platform: ConsolePlatform, account: str, column: str) -> None:
    """After hours without a request, and after the lifetime of a login; the page says so."""
    with platform.log_in(account) as client:
        age(platform, account, **{column: datetime.now(UTC) - timedelta(days=15)})
        answer = client.get("/m/accidents?a=1", follow_redirects=True)
        assert answer.url.params["next"] == "/m/accidents?a=1"
        assert "Your session has ended." in answer.text
        part = client.get("/", headers={"HX-Request": "true", "HX-Current-URL": f"{platform.url}/monitoring?hours=6"})
        assert part.headers["hx-redirect"] == "/login?next=%2Fmonitoring%3Fhours%3D6&ended=1"


def test_a_page_that_refreshes_itself_keeps_no_session_alive(platform: ConsolePlatform, account: str) -> None:
    """A forgotten tab logs out like a closed one; a person's own request counts."""
    with platform.log_in(account) as client:
        assert "X-Background" in client.get("/").text
        age(platform, account, used_at=OLD)
        for headers, is_use in (({"X-Background": "true", "HX-Request": "true"}, False), ({}, True)):
            assert client.get("/", headers=headers).status_code == 200
            with platform.warehouse.connect() as connection:
                row = select(console_sessions.c.used_at).where(console_sessions.c.user_name == account)
                used_at = as_utc(connection.execute(row).scalar_one())
            assert (used_at > OLD + timedelta(minutes=30)) == is_use


def test_a_disabled_account_loses_its_session(platform: ConsolePlatform, account: str) -> None:
    """At the latest when the access token is refreshed; the services refuse the old one by themselves then."""
    with platform.log_in(account) as client:
        headers = platform.headers()
        platform.clients["auth"].patch(f"/users/{account}", json={"disabled": True}, headers=headers)
        age(platform, account, token_expires_at=OLD)
        assert client.get("/").headers["location"] == "/login?next=%2F&ended=1"
        assert client.get("/").status_code == 303


def test_a_demoted_admin_sees_no_page_of_admins(platform: ConsolePlatform, account: str) -> None:
    """The auth service ends the logins of a demoted admin; after the next one the pages are gone."""
    headers = platform.headers()
    change = platform.clients["auth"].patch
    assert change(f"/users/{account}", json={"role": "admin"}, headers=headers).status_code == 200
    with platform.log_in(account) as client:
        assert client.get("/admin").status_code == 200
        assert change(f"/users/{account}", json={"role": "user"}, headers=headers).status_code == 200
        age(platform, account, token_expires_at=OLD)
        assert client.get("/admin").headers["location"] == "/login?next=%2Fadmin&ended=1"
    with platform.log_in(account) as client:
        assert client.get("/admin").status_code == 403


def test_without_the_auth_service_the_session_stays(platform: ConsolePlatform, account: str) -> None:
    """A valid token works on; a refresh fails with a page that says so, and the session continues after the outage."""
    alone = platform.reload_settings(internal_auth_url=f"http://127.0.0.1:{free_port()}")
    with platform.log_in(account) as client, live(create_app(alone)) as cut_off:
        cut_off.cookies.set(COOKIE, client.cookies[COOKIE])
        assert cut_off.get("/m/accidents").status_code == 200
        age(platform, account, token_expires_at=OLD)
        answer = cut_off.get("/m/accidents")
        assert answer.status_code == 503
        assert "The auth service does not answer" in answer.text
        refused = cut_off.post("/login", data={"username": account, "password": PASSWORD})
        assert (refused.status_code, "not available" in refused.text) == (503, True)
        assert client.get("/m/accidents").status_code == 200


def test_the_database_holds_nothing_that_logs_in(platform: ConsolePlatform, account: str) -> None:
    """Neither the cookie nor a token, whoever reads it."""
    with platform.log_in(account) as client, platform.warehouse.connect() as connection:
        query = select(console_sessions).where(console_sessions.c.user_name == account)
        row = connection.execute(query).mappings().one()
        assert not any(client.cookies[COOKIE] in str(value) for value in row.values())
        assert "." not in row["sealed"], "no JWT"
        copied = httpx.get(f"{platform.url}/", cookies={COOKIE: row["id"]})
        assert copied.status_code == 303


def test_logout_revokes_the_tokens(platform: ConsolePlatform, account: str) -> None:
    """The row is gone, the refresh token is revoked, the browser's cookie is deleted."""
    with platform.log_in(account) as client:
        token = client.get("/").text.partition('name="csrf" value="')[2][:64]
        cookie = client.cookies[COOKIE]
        answer = client.post("/logout", data={"csrf": token})
        assert f'{COOKIE}=""' in answer.headers["set-cookie"]
        assert httpx.get(f"{platform.url}/", cookies={COOKIE: cookie}).status_code == 303
    assert count_tokens(platform, account, refresh_tokens.c.revoked_at.is_(None)) == 0


def test_the_cookie_is_for_this_site_alone(platform: ConsolePlatform) -> None:
    """HttpOnly, SameSite=Strict, no lifetime; Secure where the browser's connection is."""
    form = {"username": "admin", "password": platform.passwords["admin"]}
    answer = httpx.post(f"{platform.url}/login", data=form)
    (cookie,) = [value for value in answer.headers.get_list("set-cookie") if value.startswith(COOKIE)]
    assert {part.strip().lower() for part in cookie.split(";")[1:]} == {"httponly", "path=/", "samesite=strict"}


def test_the_store_is_bounded(platform: ConsolePlatform) -> None:
    """The longest unused sessions make room, idle ones are deleted at the next login."""
    with platform.warehouse.begin() as connection:
        connection.execute(console_sessions.delete())
    row = {"user_name": "x", "scope": "", "sealed": "s", "token_expires_at": OLD}
    for number in range(5):
        store.add_session(platform.warehouse, row | {"id": f"id{number}"}, 3, timedelta(hours=1))
    with platform.warehouse.begin() as connection:
        found = set(connection.execute(select(console_sessions.c.id)).scalars())
        assert found == {"id2", "id3", "id4"}
        connection.execute(console_sessions.update().where(console_sessions.c.id == "id3").values(used_at=OLD))
    store.add_session(platform.warehouse, row | {"id": "id5"}, 3, timedelta(minutes=30))
    with platform.warehouse.connect() as connection:
        assert set(connection.execute(select(console_sessions.c.id)).scalars()) == {"id2", "id4", "id5"}
