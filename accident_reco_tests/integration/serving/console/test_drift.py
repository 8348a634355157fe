"""The pages of drift in the browser: judge now, features drawn, history, HTML report, decisions."""

from __future__ import annotations

from typing import Any

import pytest

from accident_reco.storage import retrain_decisions
from accident_reco_tests.support.console import MARKUP_CATEGORY, USER, ConsolePlatform, log_accidents, running_console

MAX_BYTES = 150_000


@pytest.fixture(scope="module")
def judged(platform: ConsolePlatform) -> ConsolePlatform:
    """The platform after a check of accidents that found three features drifted."""
    log_accidents(platform, moved=True)
    url, client = "/monitoring/drift/accidents", platform.clients["drift"]
    assert client.post(url, headers=platform.headers(), timeout=60).json()["drifted"] >= 3
    return platform


@pytest.mark.parametrize("javascript", [True, False])
def test_judge_now(platform: ConsolePlatform, judged: ConsolePlatform, browser: Any, javascript: bool) -> None:
    """A new verdict with a threshold of its own, at the end of the history, which the others stay in."""
    with platform.person(browser, javascript=javascript) as page:
        page.set_default_timeout(60_000)  # the first check imports the plotting library
        page.goto(f"{platform.url}/drift")
        page.locator("section", has_text="Severity of road accidents").get_by_text("Features, history").click()
        page.locator("#h-history").wait_for()
        before = page.locator("#h-history ~ .scroll tbody tr").count()
        page.get_by_label("Share of features").fill("0.02")
        page.get_by_role("button", name="Judge now").click()
        page.get_by_text("Judged now: Drift").wait_for()
        page.get_by_role("heading", name="Chosen verdict").wait_for()
        assert page.locator("#h-history ~ .scroll tbody tr").count() == before + 1
        assert "own threshold" in page.locator("#h-history ~ .scroll tbody tr.current").inner_text()
        page.get_by_text("Latest verdict").click()
        page.get_by_role("heading", name="Changes below the threshold").wait_for()


def test_features_by_name_with_markup_as_text(judged: ConsolePlatform, browser: Any) -> None:
    """Drifted ones first, by the codebook's names, drawn; a category of clients is text; small and accessible."""
    with judged.person(browser) as page:
        page.goto(f"{judged.url}/drift/accidents")
        rows = page.locator("#h-features ~ .scroll tbody tr")
        top = [rows.nth(place).inner_text() for place in range(3)]
        assert all("drifted" in text for text in top)
        road_user = next(text for text in top if "catu" in text)
        assert "Kind of road user" in road_user
        assert "Pedestrian" in road_user
        assert any(MARKUP_CATEGORY in text for text in top)
        assert page.locator("#y").count() == 0
        page.get_by_role("img", name="Kind of road user: reference and window").wait_for()
        assert len(page.content().encode()) < MAX_BYTES
        judged.check_page(page)


def test_html_report_keeps_its_own_policy(judged: ConsolePlatform, browser: Any) -> None:
    """By the cookie alone; sandboxed by the report's policy, not the console's; a signed link needs no login."""
    with judged.person(browser) as page:
        page.goto(f"{judged.url}/drift/accidents")
        page.get_by_text("Link to share").click()
        link = page.locator("#shared").inner_text()
        page.get_by_role("link", name="HTML report").click()
        page.locator("section.verdict").wait_for()
        address = page.url
    assert judged.clients["drift"].get(link).status_code == 200
    with judged.log_in() as client:
        policy = client.get(address).headers["content-security-policy"]
        assert "sandbox allow-scripts" in policy
        assert "script-src 'sha256-" in policy


def test_decisions_of_the_policy_have_their_reasons(judged: ConsolePlatform, browser: Any) -> None:
    with judged.person(browser) as page:
        page.set_default_timeout(60_000)
        page.goto(f"{judged.url}/drift/movies")
        assert page.get_by_text("had nothing to decide").count()
        assert page.get_by_text("Nothing was judged yet").count()
        row: dict[str, Any] = {
            "model": "movies",
            "source": "drift",
            "trigger_id": "r1",
            "action": "wait",
            "rule": "hysteresis",
            "reason": "1 of the last 3 windows drifted, 2 of 3 are needed",
            "detail": {},
            "request_id": None,
        }
        retrain_decisions.record_decision(judged.warehouse, row)
        page.reload()
        shown = page.locator("#h-decisions ~ .scroll tbody tr").inner_text()
        assert "did not act" in shown
        assert row["reason"] in shown
        page.get_by_role("button", name="Judge now").click()
        page.get_by_role("alert").filter(has_text="reference").wait_for()  # this version has none
        judged.check_page(page)


def test_unknown_models_and_reports(judged: ConsolePlatform) -> None:
    with judged.log_in(USER) as client:
        assert client.get("/drift/cars").status_code == 404
        assert client.get("/drift/accidents?report=" + "0" * 32).status_code == 404
        assert client.get("/drift/movies/reports/" + "0" * 32).status_code == 404


def test_without_a_champion(tmp_path: Any) -> None:
    """Nothing to compare: the page says so, and what to do next."""
    with running_console(tmp_path, champions=False) as platform, platform.log_in() as client:
        page = client.get("/drift/accidents").text
        token = page.partition('name="csrf" value="')[2][:64]
        refused = client.post("/drift/accidents/check", data={"csrf": token})
        assert refused.status_code == 409
        assert "has no champion yet" in refused.text
        movies = client.get("/m/movies")
        assert movies.status_code == 503
        assert "Start a training on the page Models" in movies.text
