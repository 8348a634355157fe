"""`GET /movies`, `GET /movies/genres`, `GET /movies/users/{id}/ratings`: what a client chooses and rates from."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Final

import numpy as np
from fastapi import APIRouter, Path, Query
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from accident_reco.models.movies.data import queries
from accident_reco.models.movies.data.bounds import MAX_ID
from accident_reco.models.movies.serving.answers import GenresAnswer, SearchAnswer, UserRatingsAnswer
from accident_reco.models.movies.serving.request import MAX_IDS
from accident_reco.models.movies.serving.routes import MODEL, NO_HISTORY, describe_champion
from serving.common.app import build_router, json_response
from serving.common.problems import Problem, responses
from serving.predict.context import Context

if TYPE_CHECKING:
    from accident_reco.models.movies.scoring.lookup import MovieLookup

MAX_MOVIES: Final = 100
_Id = Annotated[int, Query(ge=1, le=MAX_ID)]


def router(context: Context) -> APIRouter:
    """The endpoints, over the catalogue of the champion and the ratings in the warehouse."""
    routes = build_router("predict", requires=context.guard.require("predict"))

    @routes.get(
        "/movies",
        summary="Find movies by words of the title, or by id",
        description="The most rated first; without both, the most rated of all. With both, those of these ids whose "
        "title has the words.",
        response_model=SearchAnswer,
        responses=responses(503),
    )
    async def search_movies(
        query: Annotated[
            str | None,
            Query(min_length=1, max_length=200, description="Words of the title; case and accents are ignored"),
        ] = None,
        movie_id: Annotated[
            list[_Id] | None,
            Query(max_length=MAX_IDS, description="Ids, in the order of the answer; unknown ones are left out"),
        ] = None,
        count: Annotated[int, Query(ge=1, le=MAX_MOVIES, description="Maximum number of movies of a search")] = 20,
    ) -> Response:
        champion = context.champion(MODEL)
        catalogue = champion.model.movies
        found = await asyncio.to_thread(_find, catalogue, query or "", movie_id, count)
        return json_response({**describe_champion(champion), "query": query, "movies": found})

    @routes.get("/movies/genres", summary="List the genres", response_model=GenresAnswer, responses=responses(503))
    async def list_genres() -> Response:
        champion = context.champion(MODEL)
        return json_response({**describe_champion(champion), "genres": sorted(champion.model.movies.genre_names)})

    @routes.get(
        "/movies/users/{user_id}/ratings",
        summary="List the stored ratings of a user, newest first",
        description="No ratings for a user who is not stored. Movies that left the catalogue have no title.",
        response_model=UserRatingsAnswer,
        responses=responses(503),
    )
    async def list_user_ratings(
        user_id: Annotated[int, Path(ge=1, le=MAX_ID)],
        count: Annotated[int, Query(ge=1, le=1_000, description="Maximum number of ratings")] = 50,
    ) -> Response:
        try:
            number, rows = await asyncio.to_thread(queries.list_user_ratings, context.warehouse, user_id, count)
        except (SQLAlchemyError, OSError):
            problem = f"{NO_HISTORY[0].upper()}{NO_HISTORY[1:]}."
            raise Problem(503, problem, kind="warehouse-unavailable", headers={"Retry-After": "5"}) from None
        return json_response({"user_id": user_id, "number": number, "ratings": rows})

    return routes


def _find(catalogue: MovieLookup, query: str, movie_ids: list[int] | None, count: int) -> list[dict[str, Any]]:
    if movie_ids is None:
        return catalogue.search(query, count)
    known = _describe_known(catalogue, movie_ids)
    if not query:
        return known
    named = {movie["movie_id"] for movie in catalogue.search(query, len(catalogue))}
    return [movie for movie in known if movie["movie_id"] in named]


def _describe_known(catalogue: MovieLookup, movie_ids: list[int]) -> list[dict[str, Any]]:
    rows, known = catalogue.find_positions(np.array(movie_ids, dtype=np.int64))
    return [catalogue.describe(row) for row in rows[known].tolist()]
