"""Login, session and logout in the browser, and what protects them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from accident_reco_tests.support.console import USER, ConsolePlatform


@pytest.mark.parametrize("javascript", [True, False])
def test_login_and_logout(platform: ConsolePlatform, browser: Any, javascript: bool) -> None:
    """With and without scripts: to the wanted page after the login, and nowhere after the logout."""
    with platform.visitor(browser, javascript=javascript) as page:
        page.goto(f"{platform.url}/monitoring")
        assert page.url == f"{platform.url}/login?next=%2Fmonitoring"
        page.fill("#f-username", USER)
        page.fill("#f-password", "wrong")
        page.click("main button")
        assert page.inner_text("[role=alert]") == "Wrong user name or password."
        if javascript:
            platform.check_page(page)
        page.fill("#f-username", USER)
        page.fill("#f-password", platform.passwords[USER])
        page.click("main button")
        assert page.url == f"{platform.url}/monitoring"
        page.click("text=Log out")
        assert page.url == f"{platform.url}/login"
        page.goto(f"{platform.url}/monitoring")
        assert "/login" in page.url


def test_a_user_sees_no_page_of_admins(platform: ConsolePlatform) -> None:
    """What the scopes forbid is not in the navigation, and refused by its address."""
    with platform.log_in(USER) as client:
        assert "/admin" not in client.get("/").text
        refused = client.get("/admin")
        assert refused.status_code == 403
        assert "Ask an admin" in refused.text
    with platform.log_in() as client:
        assert 'href="/admin"' in client.get("/").text


def test_a_change_needs_the_token_of_its_session(platform: ConsolePlatform) -> None:
    """Absent, of another session, and sent by another site: nothing is changed."""
    with platform.log_in() as client, platform.log_in() as other:
        foreign = re.search('name="csrf" value="([0-9a-f]{64})"', other.get("/").text)
        assert foreign
        for data in ({}, {"csrf": foreign[1]}):
            assert client.post("/logout", data=data).status_code == 403
        own = re.search('name="csrf" value="([0-9a-f]{64})"', client.get("/").text)
        assert own
        for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://127.0.0.1:1"}):
            assert client.post("/logout", data={"csrf": own[1]}, headers=headers).status_code == 403
        assert client.get("/").status_code == 200
        assert client.post("/logout", data={"csrf": own[1]}).status_code == 303
        assert client.get("/").status_code == 303
