"""`POST /predict/movies`, `GET /movies/{id}/similar`: recommendations and similar movies; search is in `catalogue`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from accident_reco.models.movies.data import queries
from accident_reco.models.movies.data.bounds import MAX_ID
from accident_reco.models.movies.scoring.answer import build_answer_rows
from accident_reco.models.movies.serving.answers import BatchAnswer, MoviesAnswer, SimilarAnswer
from accident_reco.models.movies.serving.request import BatchRequest, MoviesRequest
from serving.common.app import build_router, json_response
from serving.common.problems import Problem, responses
from serving.predict.context import Context
from serving.predict.model_slot import Champion
from serving.predict.prediction_log import new_id
from serving.predict.rollout.work import Method, Outcome, Work, merge_lists

if TYPE_CHECKING:
    from accident_reco.models.movies.data.history import History
    from accident_reco.models.movies.scoring.answer import Answer
    from accident_reco.models.movies.scoring.recommender import Recommender

MODEL: Final = "movies"
_EXAMPLES: Final = {
    "user": {"summary": "A stored user", "value": {"user_id": 1, "count": 5}},
    "ratings": {
        "summary": "A user who is not stored",
        "value": {"ratings": [{"movie_id": 1, "rating": 5}], "count": 5, "diversity": 0.3, "because": True},
    },
    "unknown": {"summary": "An unknown user: popular movies", "value": {"count": 5, "genres": ["Comedy"]}},
}
NO_HISTORY: Final = "the stored ratings are not available now"


def router(context: Context) -> APIRouter:
    """The endpoints, over the slot of the movie model and the ratings in the warehouse."""
    routes = build_router("predict", requires=context.guard.require("predict"))
    method: Method[Sequence[MoviesRequest], list[dict[str, Any]]] = Method(
        partial(_build_answers, context), _list_outcomes, merge_lists
    )

    async def respond(
        champion: Champion[Any], requests: Sequence[MoviesRequest], request: Request
    ) -> tuple[dict[str, str], list[dict[str, Any]]]:
        started = time.perf_counter()
        work = Work(method, requests)
        user = requests[0].user_id if len(requests) == 1 else None
        # In a thread: the warehouse may be remote, and numpy releases the interpreter's lock.
        served = await asyncio.to_thread(context.serve, champion, request, work, user)
        logged = _build_log(requests, served.result)
        context.record(served.version, request, "json", time.perf_counter() - started, **logged)
        context.compare(served, request, work, logged["ids"], logged["inputs"])
        return describe_champion(served.version), served.result

    @routes.post(
        "/predict/movies",
        summary="Recommend movies for a stored user, for ratings, or for an unknown user",
        description="A stored user is answered from the model, or folded in from the stored ratings when these are "
        "newer. `ratings` describe a user who is not stored; one is enough. Without both: popular movies.",
        response_model=MoviesAnswer,
        responses=responses(503),
        openapi_extra={"requestBody": {"content": {"application/json": {"examples": _EXAMPLES}}}},
    )
    async def predict_movies(body: MoviesRequest, request: Request) -> Response:
        champion = context.champion(MODEL)
        served, answers = await respond(champion, [body], request)
        return json_response({**served, **answers[0]})

    @routes.post(
        "/predict/movies/batch",
        summary="Up to a hundred movie requests in one call",
        response_model=BatchAnswer,
        responses=responses(503),
    )
    async def predict_movies_batch(body: BatchRequest, request: Request) -> Response:
        served, answers = await respond(context.champion(MODEL), body.requests, request)
        return json_response({**served, "answers": [{**served, **answer} for answer in answers]})

    @routes.get(
        "/movies/{movie_id}/similar",
        summary="Similar movies",
        response_model=SimilarAnswer,
        responses=responses(404, 503),
    )
    async def similar_movies(
        movie_id: Annotated[int, Path(ge=1, le=MAX_ID)],
        count: Annotated[int, Query(ge=1, le=100)] = 10,
    ) -> Response:
        champion = context.champion(MODEL)
        answer, title = await asyncio.to_thread(_find_similar, champion.model, movie_id, count)
        shown = {"movie_id": movie_id, "title": title, "note": answer.note, "movies": build_answer_rows(answer.movies)}
        return json_response({**describe_champion(champion), **shown})

    return routes


def _build_answers(
    context: Context, champion: Champion[Any], requests: Sequence[MoviesRequest]
) -> list[dict[str, Any]]:
    from accident_reco.models.movies.data.history import EMPTY_HISTORY
    from accident_reco.models.movies.scoring.recommender import RecommendOptions

    version: Recommender = champion.model
    users = {one.user_id for one in requests if one.user_id is not None}
    histories: dict[int, History] = {}
    problem = None
    if users:
        try:
            histories = _read_histories(context, champion, list(users))
        except (SQLAlchemyError, OSError):
            # The model still has its users; an answer that may repeat seen movies is better than none.
            problem = NO_HISTORY
    answers = []
    for one in requests:
        options = RecommendOptions(
            one.count, one.genres, one.exclude_genres, one.include_seen, one.diversity, one.because
        )
        history = histories.get(one.user_id, EMPTY_HISTORY) if one.user_id is not None else EMPTY_HISTORY
        answer = version.recommend(one.user_id, options, history, _build_request_history(one))
        notes = [note for note in (problem if one.user_id is not None else None, answer.note) if note]
        answers.append(
            {
                "prediction_id": new_id(),
                "user_id": one.user_id,
                "reason": answer.reason,
                "note": "; ".join(notes) or None,
                "movies": build_answer_rows(answer.movies, one.because),
            }
        )
    return answers


def _list_outcomes(answers: Sequence[Mapping[str, Any]]) -> list[Outcome]:
    return [Outcome(None, [movie["movie_id"] for movie in answer["movies"]]) for answer in answers]


def _read_histories(context: Context, champion: Champion[Any], users: list[int]) -> dict[int, History]:
    from accident_reco.models.movies.data.history import History

    until = int(champion.manifest.lineage.get("ratings_received_until", 0))
    stored = queries.read_user_histories(context.warehouse, users, newer_than=until)
    return {user: History(**columns) for user, columns in stored.items()}


def _build_request_history(one: MoviesRequest) -> History:
    from accident_reco.models.movies.data.history import EMPTY_HISTORY, History

    if not one.ratings:
        return EMPTY_HISTORY
    # Of two ratings of a movie the later one counts.
    last = {rated.movie_id: rated.rating for rated in one.ratings}
    return History.from_ratings(list(last), list(last.values()))


def _find_similar(version: Recommender, movie_id: int, count: int) -> tuple[Answer, str]:
    from accident_reco.models.movies.scoring.lookup import UnknownMovie
    from accident_reco.models.movies.scoring.recommender import RecommendOptions

    try:
        answer = version.find_similar(movie_id, RecommendOptions(count=count))
    except UnknownMovie as error:
        raise Problem(404, f"{error}.", kind="no-such-movie") from None
    return answer, version.movies.titles[version.movies.find_position(movie_id)]


def describe_champion(champion: Champion[Any]) -> dict[str, str]:
    """Fields of `ServedVersion`."""
    return {"model": MODEL, "version": champion.version, "data_source": champion.data_source}


def _build_log(requests: Sequence[MoviesRequest], answers: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Arguments of `Context.record` for a call: ids and options in, ids out."""
    return {
        "ids": [answer["prediction_id"] for answer in answers],
        "inputs": [one.model_dump(exclude_defaults=True) for one in requests],
        "scores": [None] * len(answers),
        "answers": [
            {"reason": answer["reason"], "movies": [movie["movie_id"] for movie in answer["movies"]]}
            for answer in answers
        ],
        "reasons": [answer["reason"] for answer in answers],
    }
