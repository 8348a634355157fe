"""The state of the page of movies in an address."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest

from accident_reco.models.movies.serving.console.selection import (
    MAX_RATINGS,
    Selection,
    describe_changes,
    read_click,
)

FULL = Selection(
    ratings=((318, 5.0), (296, 4.5)),
    genres=("Sci-Fi", "Film-Noir"),
    excluded=("Children",),
    diversity=0.3,
    count=20,
    query="the & <b>",
    before=(7, 12),
)


@pytest.mark.parametrize("selection", [Selection(), FULL, Selection(user_id=7, query="été")])
def test_an_address_holds_the_whole_state(selection: Selection) -> None:
    assert Selection.parse(parse_qsl(urlsplit(selection.url()).query)) == selection


@pytest.mark.parametrize(
    "query",
    [
        "user=0&r=x&count=7&diversity=nan",
        "user=-1&r=1-6.2-0&diversity=2&before=a..b",
        "user=99999999999999999999&count=1000000&r=0-3.١-4",
        "genre=&without=&diversity=inf",
    ],
)
def test_damaged_parts_are_left_out(query: str) -> None:
    assert Selection.parse(parse_qsl(query, keep_blank_values=True)) == Selection()


def test_a_stored_user_has_no_ratings_in_the_address() -> None:
    """They are in the warehouse; others would be ignored by the service."""
    assert Selection.parse([("user", "7"), ("r", "318-5")]).ratings == ()


def test_rate_replaces_and_forgets() -> None:
    rated = FULL.rate(318, 2)
    assert rated.ratings == ((296, 4.5), (318, 2))
    assert rated.forget(296).ratings == ((318, 2),)
    many = Selection()
    for movie in range(1, MAX_RATINGS + 3):
        many = many.rate(movie, 3)
    assert [movie for movie, _ in many.ratings] == list(range(3, MAX_RATINGS + 3))


def test_body_is_of_the_user_or_of_the_ratings() -> None:
    body = FULL.body()
    assert body["ratings"] == [{"movie_id": 318, "rating": 5.0}, {"movie_id": 296, "rating": 4.5}]
    assert (body["genres"], body["exclude_genres"], body["count"]) == (["Sci-Fi", "Film-Noir"], ["Children"], 20)
    assert "ratings" not in Selection().body()
    assert Selection(user_id=3).body()["user_id"] == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [("318:4", (318, 4.0)), ("318:4.5", (318, 4.5)), ("318:0", None), ("318:5.5", None), ("0:4", None), ("", None)],
)
def test_click(text: str, expected: tuple[int, float] | None) -> None:
    assert read_click(text) == expected


def test_changes_of_a_list() -> None:
    movies = [{"movie_id": movie} for movie in (3, 1, 9, 2)]
    assert describe_changes((1, 2, 3, 4), movies) == ["up 2", "down 1", "new", "down 2"]
    assert describe_changes((), movies) == ["", "", "", ""]
