"""Pages of movies: find, rate, recommendations, similar movies, simulated ratings. Renders answers of the services."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from starlette.responses import Response

from accident_reco.models.movies.data.bounds import MAX_ID
from accident_reco.models.movies.serving.console.selection import (
    COUNTS,
    DIVERSITIES,
    PATH,
    Selection,
    describe_changes,
    read_click,
)
from accident_reco.models.movies.serving.request import MAX_IDS
from serving.console.api import ApiProblem, Fetched
from serving.console.context import Console
from serving.console.page import Page, page_router
from serving.console.problem_pages import describe_api_problem
from serving.console.sections import ModelPages, NavLink

FOUND: Final = 8
STORED: Final = 30
SIMULATION: Final = {"count": "1000", "seed": "0", "shift": "0"}


def routers(console: Console) -> Sequence[APIRouter]:
    """The pages."""
    routes = page_router(console, "predict")

    @routes.get(PATH)
    async def movies(page: Page) -> Response:
        items = page.query_params.multi_items()
        selection, click = Selection.parse(items), read_click(page.query_params.get("rate", ""))
        forgotten = page.query_params.get("forget", "")
        if selection.user_id is None and (click or forgotten.isdigit()):
            selection = selection.rate(*click) if click else selection.forget(int(forgotten))
            if not page.is_htmx:
                return page.redirect(f"{selection.url()}#recommended")
        return await _show(page, selection)

    @routes.get(f"{PATH}/found")
    async def found(page: Page) -> Response:
        selection = Selection.parse(page.query_params.multi_items())
        stars = dict(selection.ratings)
        return page.render(
            "movies/found.html", selection=selection, swapped=True, stars=stars, found=await _search(page, selection)
        )

    @routes.post(f"{PATH}/rate")
    async def rate(page: Page) -> Response:
        form = await page.form_fields()
        selection = Selection.parse([(name, str(value)) for name, value in form.multi_items()])
        click = read_click(str(form.get("rate", "")))
        if selection.user_id is None or click is None:
            return page.redirect(selection.url())
        rating = {"user_id": selection.user_id, "movie_id": click[0], "rating": click[1]}
        try:
            await page.api.post("predict", "/feedback/movies", {"ratings": [rating]})
        except ApiProblem as problem:
            return await _show(page, selection, problem)
        if page.is_htmx:
            return await _show(page, selection)
        return page.redirect(
            f"{selection.url()}#recommended", f"Saved: {click[1]:g} stars by user {selection.user_id}."
        )

    @routes.post(f"{PATH}/simulate")
    async def simulate(page: Page) -> Response:
        page.require("train")
        form = {name: str(value) for name, value in (await page.form_fields()).items()}
        given = {name: form.get(name, default).strip() for name, default in SIMULATION.items()}
        try:
            answer = await page.api.post("predict", "/generate-ratings", _read_simulation(given))
        except ApiProblem as problem:
            return await _show(page, Selection(), simulation=(given, problem))
        return page.redirect(
            f"{PATH}#simulate",
            f"{answer['received']} ratings simulated: {answer['inserted']} new, {answer['updated']} changed, of "
            f"{answer['users']} users, {answer['new_users']} of them new. The page Drift can judge them now.",
        )

    @routes.get(f"{PATH}/{{movie_id}}")
    async def movie(page: Page, movie_id: Annotated[int, Path(ge=1, le=MAX_ID)]) -> Response:
        selection = Selection.parse(page.query_params.multi_items())
        similar = await page.api.get("predict", f"/movies/{movie_id}/similar", count=12)
        known = await page.api.get("predict", "/movies", movie_id=movie_id)
        shown = {"movie": known["movies"][0], "similar": similar, "selection": selection}
        return page.render("movies/movie.html", stars=dict(selection.ratings), **shown)

    return [routes]


PAGES: Final = ModelPages(
    package="accident_reco.models.movies.serving.console",
    links=[NavLink("Movies", PATH, "predict")],
    routers=routers,
)


async def _show(
    page: Page,
    selection: Selection,
    problem: ApiProblem | None = None,
    simulation: tuple[dict[str, str], ApiProblem | None] = (SIMULATION, None),
) -> Response:
    answer, problem = await _recommend(page, selection, problem)
    movies = answer["movies"] if answer else []
    rated = await _list_rated(page, selection)
    stars = {row["movie_id"]: row["rating"] for row in rated.value["ratings"]} if rated.value else {}
    given, refused = simulation
    shown = {
        "selection": selection,
        "next": replace(selection, before=tuple(movie["movie_id"] for movie in movies)),
        "answer": answer,
        "changes": describe_changes(selection.before, movies),
        "problem": describe_api_problem(problem) if problem else None,
        "rated": rated,
        "stars": stars,
        "genres": await page.api.fetch("predict", "/movies/genres"),
        "counts": COUNTS,
        "diversities": DIVERSITIES,
        "given": given,
        "refused": describe_api_problem(refused) if refused else None,
        "found": await _search(page, selection),
    }
    failed = problem or refused
    template = "movies/part.html" if page.is_htmx else "movies/page.html"
    response = page.render(template, failed.status if failed else 200, **shown)
    if page.is_htmx:
        response.headers["HX-Push-Url"] = selection.url()
    return response


async def _recommend(
    page: Page, selection: Selection, problem: ApiProblem | None
) -> tuple[dict[str, Any] | None, ApiProblem | None]:
    try:
        return await page.api.post("predict", "/predict/movies", selection.body()), problem
    except ApiProblem as error:
        return None, error


async def _list_rated(page: Page, selection: Selection) -> Fetched:
    """Ratings to show, newest first, with titles: those stored of the user, or those of this page."""
    if selection.user_id is not None:
        return await page.api.fetch("predict", f"/movies/users/{selection.user_id}/ratings", count=STORED)
    known: dict[int, dict[str, Any]] = {}
    ids = [movie for movie, _ in selection.ratings]
    for start in range(0, len(ids), MAX_IDS):
        part = await page.api.fetch("predict", "/movies", movie_id=ids[start : start + MAX_IDS])
        if part.problem:
            return part
        known |= {movie["movie_id"]: movie for movie in part.value["movies"]}
    rows = [
        {**known[movie], "rating": stars, "simulated": False}
        for movie, stars in reversed(selection.ratings)
        if movie in known
    ]
    return Fetched({"number": len(rows), "ratings": rows})


async def _search(page: Page, selection: Selection) -> Fetched:
    if not selection.query:
        return Fetched()
    return await page.api.fetch("predict", "/movies", query=selection.query, count=FOUND)


def _read_simulation(given: dict[str, str]) -> dict[str, Any]:
    """Numbers of the form; what is no number is sent as it is, for the service to explain."""

    def read(text: str, kind: type[int] | type[float]) -> Any:
        try:
            return kind(text)
        except ValueError:
            return text

    return {name: read(text, float if name == "shift" else int) for name, text in given.items()}
