"""Overview, monitoring and admin in the browser: as each role, by keyboard alone, without scripts, in every state."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from accident_reco.launch.processes import free_port
from accident_reco.storage.drift_reports import save_report
from accident_reco.storage.lifecycle import record_promotion
from accident_reco.storage.work_requests import request_training
from accident_reco_tests.support.accounts import PASSWORD
from accident_reco_tests.support.console import USER, ConsolePlatform, running_console
from accident_reco_tests.support.drift_rows import build_report_row
from accident_reco_tests.support.live import live
from serving.console.app import create_app
from serving.console.sessions import COOKIE

RUN = "5f6dcea9-5e44-4a52-aa6b-ba6110cc03f6"
MAX_PAGE_BYTES = 150_000


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsolePlatform]:
    """A platform on which nothing was trained yet."""
    with running_console(tmp_path_factory.mktemp("empty"), champions=False) as running:
        yield running


@pytest.mark.parametrize("name", ["admin", USER])
def test_every_page_of_the_navigation(platform: ConsolePlatform, browser: Any, name: str) -> None:
    """Each is small, has no violation at any width in either appearance, and asks no other host."""
    with platform.person(browser, name) as page:
        links = page.eval_on_selector_all("header nav a", "all => all.map(a => a.getAttribute('href'))")
        assert ("/admin" in links) == (name == "admin")
        for link in [*links, *(["/admin/keys", "/admin/audit"] if name == "admin" else [])]:
            sizes: list[int] = []
            page.on("requestfinished", lambda request, to=sizes: to.append(request.sizes()["responseBodySize"]))
            answer = page.goto(f"{platform.url}{link}")
            assert answer.status == 200, link
            assert page.locator("h1").count() == 1
            assert sum(sizes) <= MAX_PAGE_BYTES, link
            platform.check_page(page)


def test_overview(platform: ConsolePlatform, browser: Any) -> None:
    """Champions with the gate's words, the drift light, runs and requests with links to Dagster, health."""
    warehouse = platform.warehouse
    save_report(warehouse, build_report_row(model="movies", run_id=RUN, reason="<b>11</b> of 20 features drifted"))
    asked, _ = request_training(warehouse, "accidents", "ada", "because <i>it drifted</i>")
    with platform.person(browser) as page:
        card = page.locator("section", has=page.locator("#m-movies"))
        assert "drift" in card.locator("h2 .badge").inner_text()
        assert "first model" in card.inner_text()
        assert card.locator("svg .marked").count() == 1
        runs = page.locator("section", has_text="Latest runs")
        assert "<b>11</b> of 20 features drifted" in runs.inner_text()
        dagster = platform.settings.page_urls["dagster"]
        assert runs.locator(f'a[href="{dagster}/runs/{RUN}"]').count() == 1
        assert "because <i>it drifted</i>" in page.locator("section", has_text="Open requests").inner_text()
        assert page.locator(f'a[href="{dagster}/assets/movies/production_model"]').count() == 1
        services = page.locator("section", has=page.locator("#h-health")).inner_text()
        assert re.findall(r"(ready|not ready) (\w+)", services) == [("ready", n) for n in ("auth", "predict", "drift")]
        platform.check_page(page)
    with platform.person(browser, USER) as page:
        assert page.locator("h2:has-text('Open requests')").count() == 0, "the scope `train` is missing"
        assert page.locator("h2:has-text('Latest runs')").count() == 1
    assert asked["status"] == "queued"


def test_the_latest_runs_are_for_every_client(platform: ConsolePlatform) -> None:
    """`GET /runs`: newest first, with the run where Dagster did it, and null where another component did."""
    for run in ("6f6dcea9-5e44-4a52-aa6b-ba6110cc03f6", "api:1"):
        record_promotion(
            platform.warehouse,
            model="accidents",
            version="v",
            previous=None,
            action="refuse" if run != "api:1" else "rollback",
            promoted=False,
            reason=f"by {run}",
            detail={},
            run_id=run,
        )
    answer = platform.clients["predict"].get("/runs?limit=2", headers=platform.headers(USER))
    assert [(row["kind"], row["outcome"], row["run_id"]) for row in answer.json()] == [
        ("rollback", "rollback", None),
        ("training", "refuse", "6f6dcea9-5e44-4a52-aa6b-ba6110cc03f6"),
    ]
    assert platform.clients["predict"].get("/runs").status_code == 401


def test_overview_without_a_champion(empty: ConsolePlatform, browser: Any) -> None:
    """Each model says what to do next, the predict service why it is not ready."""
    with empty.person(browser) as page:
        text = page.inner_text("main")
        assert text.count("No version serves yet") == 2
        assert "make pipeline" in text
        assert "accidents: no version serves" in text
        assert "Nothing was run yet." in text
        empty.check_page(page)


def test_overview_while_services_are_down(platform: ConsolePlatform) -> None:
    """Their parts say so; the rest of the page is there."""
    dead = f"http://127.0.0.1:{free_port()}"
    alone = platform.reload_settings(internal_drift_url=dead)
    with platform.log_in() as client, live(create_app(alone)) as cut_off:
        cut_off.cookies.set(COOKIE, client.cookies[COOKIE])
        answer = cut_off.get("/")
        assert answer.status_code == 200
        assert "The drift service does not answer" in answer.text
        assert "drift: it does not answer" in answer.text
        assert "first model" in answer.text


def test_monitoring(platform: ConsolePlatform, browser: Any) -> None:
    """At first a hint, then charts; a span is chosen by keyboard and without scripts too."""
    history = platform.apps["console"].state.context.figures
    history.samples.clear()
    with platform.person(browser, USER) as page:
        page.goto(f"{platform.url}/monitoring")
        assert "The console has begun to collect" in page.inner_text("main")
        for _ in range(2):
            platform.clients["predict"].get("/models", headers=platform.headers(USER))
            history._sample()
        page.goto(f"{platform.url}/monitoring")
        for chart in ("requests", "latency", "queue", "drift"):
            assert page.locator(f"section:has(#c-{chart}) svg").count() == 1
        assert "predict:" in page.inner_text("section:has(#c-requests) .legend")
        assert "Trainings" not in page.inner_text("main")
        page.focus("#f-hours")
        page.keyboard.press("ArrowDown")
        page.wait_for_url("**/monitoring?hours=6")
        platform.check_page(page)
    with platform.person(browser, javascript=False) as page:
        page.goto(f"{platform.url}/monitoring")
        page.select_option("#f-hours", "24")
        page.click("main form button")
        assert page.url.endswith("hours=24")


def test_accounts_by_keyboard_alone(platform: ConsolePlatform, browser: Any) -> None:
    """A weak password is explained at its field; then the account is created, changed and deleted, asked before."""
    with platform.person(browser) as page:
        page.goto(f"{platform.url}/admin")
        page.focus("#f-name")
        page.keyboard.type("eve")
        page.keyboard.press("Tab")
        page.keyboard.type("password1234")
        page.keyboard.press("Enter")
        page.wait_for_selector("#e-password")
        assert page.get_attribute("#f-password", "aria-invalid") == "true"
        assert page.input_value("#f-name") == "eve"
        platform.check_page(page)
        page.focus("#f-password")
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_selector("text=eve may log in now.")
        row = page.locator("tr", has_text="eve")
        row.locator("summary").focus()
        page.keyboard.press("Enter")
        row.get_by_role("button", name="Disable").focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("text=eve is disabled")
        assert "disabled" in row.inner_text()
        page.reload()
        assert page.locator("text=eve is disabled").count() == 0, "a notice is shown once"
        for accepted in (False, True):
            page.once("dialog", lambda dialog, yes=accepted: dialog.accept() if yes else dialog.dismiss())
            row.locator("summary").focus()
            page.keyboard.press("Enter")
            delete = row.get_by_role("button", name="Delete")
            if not delete.is_visible():
                page.keyboard.press("Enter")
            delete.focus()
            page.keyboard.press("Enter")
            if not accepted:
                assert row.count() == 1
        page.wait_for_selector("text=eve and the API keys of this account are deleted.")
        assert row.count() == 0


def test_accounts_without_scripts(platform: ConsolePlatform, browser: Any) -> None:
    """Every change is a plain form; the last admin stays, with the reason."""
    with platform.person(browser, javascript=False) as page:
        page.goto(f"{platform.url}/admin")
        row = page.locator("tr", has_text="admin (you)")
        row.locator("summary").click()
        row.get_by_role("button", name="Make a user").click()
        page.get_by_role("alert").filter(has_text="This is the last admin").wait_for()
        row = page.locator("tr", has_text=USER)
        row.locator("summary").click()
        row.locator("input[type=password]").fill(PASSWORD)
        row.get_by_role("button", name="Set").click()
        page.get_by_role("status").filter(has_text=f"{USER} has a new password.").wait_for()


def test_api_keys_are_shown_once(platform: ConsolePlatform, browser: Any) -> None:
    """The key works at once; no later page has it; a revoked one does not work."""
    with platform.person(browser) as page:
        page.goto(f"{platform.url}/admin/keys")
        page.fill("#f-name", "<b>importer</b>")
        page.uncheck("input[value=predict]")
        page.click("main form button:has-text('Create')")
        assert page.locator("[role=alert]").count() == 1
        page.check("input[value=predict]")
        page.fill("#f-expires_in_days", "30")
        page.click("main form button:has-text('Create')")
        key = page.inner_text("#new-key")
        platform.check_page(page)
        called = platform.clients["predict"].get("/models", headers={"X-API-Key": key})
        assert called.status_code == 200
        page.goto(f"{platform.url}/admin/keys")
        assert key not in page.content()
        row = page.locator("tr", has_text="<b>importer</b>")
        page.once("dialog", lambda dialog: dialog.accept())
        row.get_by_role("button").click()
        page.wait_for_selector("text=is revoked.")
        page.goto(f"{platform.url}/admin/audit")
        assert "key.revoke" in page.inner_text("main")


def test_a_link_of_another_site_finds_the_session(platform: ConsolePlatform, browser: Any) -> None:
    """The browser withholds the strict cookie at first; the page loads itself again, as from this site."""
    with platform.person(browser) as page:
        page.goto("about:blank")
        page.set_content(f'<a href="{platform.url}/monitoring?hours=6">shared link</a>')
        page.click("a")
        page.wait_for_selector("h1:has-text('Monitoring')")
        assert page.url == f"{platform.url}/monitoring?hours=6"


def test_appearance_is_kept(platform: ConsolePlatform, browser: Any) -> None:
    """The person's choice beats the system's, on every page, without scripts."""
    with platform.person(browser, javascript=False) as page:
        page.click("button:has-text('Dark')")
        page.wait_for_selector("html[data-theme=dark]")
        page.goto(f"{platform.url}/admin")
        assert page.get_attribute("html", "data-theme") == "dark"
        page.click("button:has-text('Light')")
        page.wait_for_selector("html[data-theme=light]")
        page.click("button:has-text('As system')")
        page.wait_for_selector("html:not([data-theme])")
        for system, other in (("light", "Dark"), ("dark", "Light")):
            page.emulate_media(color_scheme=system)
            assert page.locator("button[name=theme]:visible").all_inner_texts() == [other]


def test_problems_are_pages(platform: ConsolePlatform, browser: Any) -> None:
    """An unknown address, a wrong parameter, a forbidden page; programs get problem+json."""
    with platform.person(browser, USER) as page:
        for path, title in (
            ("/nowhere", "no such page"),
            ("/admin", "Not allowed"),
            ("/monitoring?hours=2", "Unprocess"),
        ):
            page.goto(f"{platform.url}{path}")
            assert title in page.inner_text("h1")
            assert "Next:" in page.evaluate("getComputedStyle(document.querySelector('.next'), '::before').content")
        platform.check_page(page)
    answer = httpx.get(f"{platform.url}/nowhere")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_every_response_has_the_headers(platform: ConsolePlatform) -> None:
    """Pages, redirects, problems, static files: policy, no frames, no sniffing; pages are never stored."""
    with platform.log_in(USER) as client:
        style = re.search(r'"(/static/console\.css\?v=\w+)"', client.get("/login").text)
        assert style
        for path in ("/", "/login", "/admin", "/nowhere", "/logout", style[1]):
            answer = client.get(path, headers={"Accept": "text/html"})
            assert "script-src 'self'" in answer.headers["content-security-policy"], path
            assert "unsafe" not in answer.headers["content-security-policy"]
            assert answer.headers["x-frame-options"] == "DENY"
            assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
            assert answer.headers.get_list("referrer-policy") == ["same-origin"]
            expected = "public, max-age=31536000, immutable" if path == style[1] else "no-store"
            assert answer.headers["cache-control"] == expected
        changed = client.get("/static/console.css?v=old")
        assert changed.headers["cache-control"] == "no-cache"
        known = client.get("/static/console.css", headers={"If-None-Match": changed.headers["etag"]})
        assert known.status_code == 304
        for path in ("/static/vendor/htmx/LICENSE", "/static/../app.py", "/static/%2e%2e/app.py", "/static/"):
            assert client.get(path).status_code == 404
