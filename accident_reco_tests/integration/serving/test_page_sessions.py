"""Sessions on the pages of Dagster and MLflow, with a real auth service: they end with the admin's rights."""

from __future__ import annotations

import asyncio

import pytest

from accident_reco.launch.processes import free_port
from accident_reco_tests.support.accounts import PASSWORD, Auth
from serving.guard import login
from serving.guard.login import Sessions

ADDRESS = "127.0.0.1"


def test_a_session_ends_with_the_role_at_its_next_check(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check is due half a minute after the last one; until then the session is not looked up."""
    auth.add_user("sybil", PASSWORD, "admin")
    sessions = Sessions(f"{auth.url}/token", "dagster")

    async def session() -> None:
        cookie = f"{sessions.cookie}={await sessions.log_in('sybil', PASSWORD, ADDRESS)}"
        monkeypatch.setattr(login, "CHECK_SECONDS", 0.0)
        assert await sessions.find_name(cookie, ADDRESS) == "sybil", "checked: still an admin"
        monkeypatch.setattr(login, "CHECK_SECONDS", 30.0)
        auth.client.patch("/users/sybil", json={"role": "user"}, headers=auth.headers()).raise_for_status()
        assert await sessions.find_name(cookie, ADDRESS) == "sybil"
        monkeypatch.setattr(login, "CHECK_SECONDS", 0.0)
        assert await sessions.find_name(cookie, ADDRESS) is None
        auth.client.patch("/users/sybil", json={"role": "admin"}, headers=auth.headers()).raise_for_status()
        assert await sessions.find_name(cookie, ADDRESS) is None, "a session that ended does not come back"

    asyncio.run(session())


def test_a_session_outlives_an_outage_of_the_auth_service_until_its_token_expires(
    auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check that gets no answer decides nothing."""
    auth.add_user("peggy", PASSWORD, "admin")
    sessions = Sessions(f"{auth.url}/token", "dagster")
    monkeypatch.setattr(login, "CHECK_SECONDS", 0.0)

    async def session() -> None:
        cookie = f"{sessions.cookie}={await sessions.log_in('peggy', PASSWORD, ADDRESS)}"
        sessions._url = f"http://127.0.0.1:{free_port()}/token"
        assert await sessions.find_name(cookie, ADDRESS) == "peggy"
        for known in sessions._sessions.values():
            known.expires = 0.0
        assert await sessions.find_name(cookie, ADDRESS) is None
        sessions._url = f"{auth.url}/token"
        assert await sessions.find_name(cookie, ADDRESS) == "peggy", "after the outage it continues"

    asyncio.run(session())
