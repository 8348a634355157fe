"""The pages of movies in the browser: as nobody and as a stored user, with and without scripts, by keyboard."""

from __future__ import annotations

from typing import Any

import pytest

from accident_reco.models.movies.data import queries
from accident_reco_tests.support.console import USER, ConsolePlatform
from accident_reco_tests.support.real_movies import MARKUP_TITLE

MAX_BYTES = 150_000


def list_titles(page: Any) -> list[str]:
    titles: list[str] = page.locator(".recommended .movie-title a").all_inner_texts()
    return titles


@pytest.mark.parametrize("javascript", [True, False])
def test_recommendations_follow_the_ratings_of_nobody(
    platform: ConsolePlatform, browser: Any, javascript: bool
) -> None:
    """A click rates; list, reasons and address follow; nothing is stored; the link alone brings all of it back."""
    stored = queries.count_data(platform.warehouse)["rows"]
    with platform.person(browser, USER, javascript=javascript) as page:
        page.goto(f"{platform.url}/m/movies")
        popular = list_titles(page)
        assert len(popular) == 10
        page.get_by_role("group", name=f"Rate {popular[0]}").get_by_role("button", name="5 stars").click()
        page.get_by_text("Your rating changed").wait_for()
        rated = list_titles(page)
        assert popular[0] not in rated
        assert page.get_by_text(f"Because you rated {popular[0]} 5 ★").count()
        page.get_by_role("group", name=f"Rate {rated[0]}").get_by_role("button", name="1 star", exact=True).click()
        page.get_by_role("button", name=f"Remove the rating of {rated[0]}").wait_for()
        address, twice = page.url, list_titles(page)
        with platform.person(browser, USER, javascript=javascript) as other:
            other.goto(address)
            assert list_titles(other) == twice
        page.get_by_role("button", name=f"Remove the rating of {rated[0]}").click()
        page.get_by_role("button", name=f"Remove the rating of {rated[0]}").wait_for(state="detached")
        assert list_titles(page) == rated
    assert queries.count_data(platform.warehouse)["rows"] == stored


@pytest.mark.parametrize("javascript", [True, False])
def test_a_stored_user_saves_each_rating(platform: ConsolePlatform, browser: Any, javascript: bool) -> None:
    """In the warehouse, as the API's clients do; the next list counts it."""
    user = 3 if javascript else 4
    before = queries.list_user_ratings(platform.warehouse, user, 1)[0]
    with platform.person(browser, USER, javascript=javascript) as page:
        page.goto(f"{platform.url}/m/movies")
        page.get_by_label("Number of a stored user").fill(str(user))
        page.get_by_role("button", name="Switch").click()
        page.get_by_text(f"You rate as user {user}").wait_for()
        title = list_titles(page)[0]
        page.get_by_role("group", name=f"Rate {title}").get_by_role("button", name="4 stars").click()
        page.locator(".rated").get_by_text(title, exact=True).wait_for()
        assert title not in list_titles(page)
    number, rows = queries.list_user_ratings(platform.warehouse, user, 1)
    assert number == before + 1
    assert (rows[0]["title"], rows[0]["rating"], rows[0]["simulated"]) == (title, 4.0, False)


def test_suggestions_and_keyboard(platform: ConsolePlatform, browser: Any) -> None:
    """Titles appear while one types; the next Tabs reach a star, Enter rates, and the focus is not lost."""
    with platform.person(browser, USER) as page:
        page.goto(f"{platform.url}/m/movies")
        page.get_by_label("Words of its title").focus()
        page.keyboard.type("garden onerror")
        star = page.get_by_role("group", name=f"Rate {MARKUP_TITLE}").get_by_role("button", name="3 stars")
        star.wait_for()
        for _ in range(20):
            page.keyboard.press("Tab")
            if star.evaluate("element => element === document.activeElement"):
                break
        page.keyboard.press("Enter")
        page.get_by_role("button", name=f"Remove the rating of {MARKUP_TITLE}").wait_for()
        assert page.input_value("#f-query") == "garden onerror"
        assert page.evaluate("document.activeElement !== document.body")
        assert page.locator("#x, main img").count() == 0


def test_titles_with_markup_stay_text(platform: ConsolePlatform, browser: Any) -> None:
    """In the search, in the ratings, on the movie's own page and in the title of the window."""
    with platform.person(browser, USER) as page:
        for path in ("/m/movies?query=onerror", "/m/movies?r=1-5", "/m/movies/1?r=1-5"):
            page.goto(f"{platform.url}{path}")
            assert page.get_by_text(MARKUP_TITLE).first.is_visible(), path
            assert page.locator("#x, main img").count() == 0
        assert page.title().startswith(MARKUP_TITLE)


def test_genres_variety_and_similar_movies(platform: ConsolePlatform, browser: Any) -> None:
    """Options change the list and stay in the address; a title leads to similar movies and back."""
    with platform.person(browser, USER) as page:
        page.goto(f"{platform.url}/m/movies")
        page.get_by_text("Genres, variety, length").click()
        page.get_by_role("group", name="Only these genres").get_by_label("Horror").check()
        page.wait_for_url("**genre=Horror*")
        assert all("Horror" in text for text in page.locator(".recommended .what").all_inner_texts())
        page.get_by_label("Variety").select_option("Varied")
        page.wait_for_url("**diversity=0.6*")
        address = page.url
        page.locator(".recommended .movie-title a").first.click()
        page.get_by_role("heading", name="Similar movies").wait_for()
        assert page.locator(".recommended li").count() == 12
        platform.check_page(page)
        page.get_by_text("Back to the recommendations").click()
        page.wait_for_url(address)


def test_page_of_movies(platform: ConsolePlatform, browser: Any) -> None:
    """Accessible at every width in both appearances, with all options open; small."""
    with platform.person(browser) as page:
        page.goto(
            f"{platform.url}/m/movies?user=1&count=40&diversity=0.3&query=the&genre=Comedy&genre=Drama&before=1.2"
        )
        assert len(page.content().encode()) < MAX_BYTES
        platform.check_page(page)


def test_simulated_traffic_is_for_admins(platform: ConsolePlatform, browser: Any) -> None:
    """Written and counted; refused numbers are explained; a user sees no form."""
    with platform.log_in(USER) as client:
        assert "Simulate traffic" not in client.get("/m/movies").text
    with platform.person(browser) as page:
        page.goto(f"{platform.url}/m/movies")
        page.get_by_text("Simulate traffic").click()
        page.get_by_label("Ratings", exact=True).fill("200")
        page.get_by_label("Seed").fill("5")
        page.get_by_role("button", name="Simulate").click()
        page.get_by_text("ratings simulated").wait_for()
        page.get_by_text("Simulate traffic").click()
        page.evaluate("document.querySelector('#simulate form').noValidate = true")
        page.get_by_label("Shift").fill("7")
        page.get_by_role("button", name="Simulate").click()
        page.get_by_role("alert").filter(has_text="shift").wait_for()


def test_an_unknown_genre_and_movie_are_explained(platform: ConsolePlatform) -> None:
    with platform.log_in(USER) as client:
        assert client.get("/m/movies/2000000000").status_code == 404
        shown = client.get("/m/movies?genre=Nonsense<b>").text
        assert "Nonsense&lt;b&gt;" in shown
        assert "Choose fewer genres" in shown
