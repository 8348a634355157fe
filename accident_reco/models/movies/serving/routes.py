"""`POST /predict/movies` and its kin: what somebody would like to see, what is like a movie, what a title is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from accident_reco.models.movies.data import queries as storage
from accident_reco.models.movies.serving.request import (
    MAX_ID,
    BatchAnswer,
    BatchRequest,
    MoviesAnswer,
    MoviesRequest,
    SearchAnswer,
    SimilarAnswer,
)
from serving.common.app import build_router, json_response
from serving.common.problems import Problem, responses
from serving.predict.context import Context
from serving.predict.model_slot import Champion
from serving.predict.prediction_log import new_id

if TYPE_CHECKING:
    from accident_reco.models.movies.data.history import History
    from accident_reco.models.movies.scoring.recommender import Answer, Recommender

MODEL: Final = "movies"
_EXAMPLES: Final = {
    "user": {"summary": "A stored user", "value": {"user_id": 1, "count": 5}},
    "ratings": {
        "summary": "Somebody who is not stored",
        "value": {"ratings": [{"movie_id": 1, "rating": 5}], "count": 5, "diversity": 0.3, "because": True},
    },
    "stranger": {"summary": "Nobody: what is popular", "value": {"count": 5, "genres": ["Comedy"]}},
}
NO_HISTORY: Final = "the stored ratings cannot be read now"


def router(context: Context) -> APIRouter:
    """The endpoints, over the slot of the movie model and the ratings in the warehouse."""
    routes = build_router("predict", requires=context.guard.require("predict"))

    async def answer(champion: Champion[Any], asked: Sequence[MoviesRequest], request: Request) -> list[dict[str, Any]]:
        started = time.perf_counter()
        # In a thread: the warehouse may be far away, and matrices let others run meanwhile.
        answers = await asyncio.to_thread(_answers, context, champion, asked)
        context.record(champion, request, "json", time.perf_counter() - started, **_logged(asked, answers))
        return answers

    @routes.post(
        "/predict/movies",
        summary="Movies for a user, for somebody who brings ratings, or for a stranger",
        description="A stored user is answered from the model, or folded in from the stored ratings when these are "
        "newer. `ratings` describe somebody who is not stored; one is enough. Nobody: what is popular.",
        response_model=MoviesAnswer,
        responses=responses(503),
        openapi_extra={"requestBody": {"content": {"application/json": {"examples": _EXAMPLES}}}},
    )
    async def predict_movies(body: MoviesRequest, request: Request) -> Response:
        champion = context.champion(MODEL)
        return json_response({**_served(champion), **(await answer(champion, [body], request))[0]})

    @routes.post(
        "/predict/movies/batch",
        summary="Up to a hundred movie requests in one call",
        response_model=BatchAnswer,
        responses=responses(503),
    )
    async def predict_movies_batch(body: BatchRequest, request: Request) -> Response:
        champion = context.champion(MODEL)
        served = _served(champion)
        answers = await answer(champion, body.requests, request)
        return json_response({**served, "answers": [{**served, **found} for found in answers]})

    @routes.get("/movies", summary="Find movies by title", response_model=SearchAnswer, responses=responses(503))
    async def search_movies(
        query: Annotated[
            str, Query(min_length=1, max_length=200, description="Words of the title; case and accents do not count")
        ],
        count: Annotated[int, Query(ge=1, le=100)] = 20,
    ) -> Response:
        champion = context.champion(MODEL)
        found = await asyncio.to_thread(champion.model.movies.search, query, count)
        return json_response({**_served(champion), "query": query, "movies": found})

    @routes.get(
        "/movies/{movie_id}/similar",
        summary="Movies like this one",
        response_model=SimilarAnswer,
        responses=responses(404, 503),
    )
    async def similar_movies(
        movie_id: Annotated[int, Path(ge=1, le=MAX_ID)],
        count: Annotated[int, Query(ge=1, le=100)] = 10,
    ) -> Response:
        champion = context.champion(MODEL)
        answer, title = await asyncio.to_thread(_similar, champion.model, movie_id, count)
        shown = {"movie_id": movie_id, "title": title, "note": answer.note, "movies": _picks(answer)}
        return json_response({**_served(champion), **shown})

    return routes


def _answers(context: Context, champion: Champion[Any], asked: Sequence[MoviesRequest]) -> list[dict[str, Any]]:
    from accident_reco.models.movies.data.history import NOTHING
    from accident_reco.models.movies.scoring.recommender import RecommendOptions

    version: Recommender = champion.model
    users = {one.user_id for one in asked if one.user_id is not None}
    histories: dict[int, History] = {}
    trouble = None
    if users:
        try:
            histories = _histories(context, champion, list(users))
        except (SQLAlchemyError, OSError):
            # The model still knows its users; an answer that may repeat seen movies beats none.
            trouble = NO_HISTORY
    answers = []
    for one in asked:
        wishes = RecommendOptions(
            one.count, one.genres, one.exclude_genres, one.include_seen, one.diversity, one.because
        )
        given = _given(one)
        history = histories.get(one.user_id, NOTHING) if one.user_id is not None else NOTHING
        answer = version.recommend(one.user_id, wishes, history, given)
        notes = [note for note in (trouble if one.user_id is not None else None, answer.note) if note]
        answers.append({
            "prediction_id": new_id(), "user_id": one.user_id, "reason": answer.reason,
            "note": "; ".join(notes) or None, "movies": _picks(answer, one.because),
        })  # fmt: skip
    return answers


def _histories(context: Context, champion: Champion[Any], users: list[int]) -> dict[int, History]:
    from accident_reco.models.movies.data.history import History

    until = int(champion.manifest.lineage.get("ratings_received_until", 0))
    stored = storage.user_histories(context.warehouse, users, newer_than=until)
    return {user: History(**columns) for user, columns in stored.items()}


def _given(one: MoviesRequest) -> History:
    from accident_reco.models.movies.data.history import NOTHING, History

    if not one.ratings:
        return NOTHING
    # Of a movie rated twice the later one counts.
    last = {rated.movie_id: rated.rating for rated in one.ratings}
    return History.of(list(last), list(last.values()))


def _similar(version: Recommender, movie_id: int, count: int) -> tuple[Answer, str]:
    from accident_reco.models.movies.scoring.lookup import UnknownMovie
    from accident_reco.models.movies.scoring.recommender import RecommendOptions

    try:
        answer = version.similar(movie_id, RecommendOptions(count=count))
    except UnknownMovie as error:
        raise Problem(404, f"{error}.", kind="no-such-movie") from None
    return answer, version.movies.titles[version.movies.position(movie_id)]


def _picks(answer: Answer, because: bool = False) -> list[dict[str, Any]]:
    picks = []
    for pick in answer.picks:
        shown: dict[str, Any] = {
            "movie_id": pick.movie_id, "title": pick.title, "genres": pick.genres, "score": round(pick.score, 6),
            "predicted_rating": round(pick.predicted_rating, 3), "reason": pick.reason,
        }  # fmt: skip
        if because:
            shown["because"] = pick.because
        picks.append(shown)
    return picks


def _served(champion: Champion[Any]) -> dict[str, str]:
    return {"model": MODEL, "version": champion.version, "data_source": champion.data_source}


def _logged(asked: Sequence[MoviesRequest], answers: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """What `Context.record` keeps of a call: ids and options in, ids out."""
    return {
        "ids": [answer["prediction_id"] for answer in answers],
        "inputs": [one.model_dump(exclude_defaults=True) for one in asked],
        "scores": [None] * len(answers),
        "answers": [
            {"reason": answer["reason"], "movies": [movie["movie_id"] for movie in answer["movies"]]}
            for answer in answers
        ],
        "reasons": [answer["reason"] for answer in answers],
    }
