"""`POST /feedback/movies`: new ratings of users; `POST /generate-ratings`: simulated ratings, marked as such."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from fastapi import APIRouter
from starlette.responses import Response

from accident_reco.models.movies.data import queries
from accident_reco.models.movies.serving.answers import RatingsAnswer
from accident_reco.models.movies.serving.request import GenerateRequest, RatingsFeedback
from accident_reco.models.movies.settings import MovieSettings
from serving.common.app import build_router, json_response
from serving.common.problems import Problem, responses
from serving.predict.context import Context

if TYPE_CHECKING:
    from accident_reco.models.movies.scoring.recommender import Recommender

MODEL: Final = "movies"
MAX_ERRORS: Final = 20


def router(context: Context) -> APIRouter:
    """The endpoints, over the ratings in the warehouse."""
    routes = build_router("feedback")
    received = context.metrics.counter("ratings_received", "Ratings received by outcome", ("simulated", "outcome"))

    def count(written: dict[str, Any], simulated: bool) -> dict[str, Any]:
        for outcome in ("inserted", "updated", "unchanged"):
            received.labels(str(simulated).lower(), outcome).inc(written[outcome])
        return written | {"simulated": simulated}

    @routes.post(
        "/feedback/movies",
        summary="Rate movies",
        description="Used by the next recommendation of these users, and by the next training. "
        "The same ratings again change nothing.",
        response_model=RatingsAnswer,
        dependencies=[context.guard.require("feedback")],
        responses=responses(422),
    )
    async def feedback_movies(body: RatingsFeedback) -> Response:
        written = await asyncio.to_thread(_receive, context, body)
        return json_response(count(written, simulated=False))

    @routes.post(
        "/generate-ratings",
        summary="Simulate new ratings, to try the loop",
        description="By the preferences that the champion has learned, of stored and new users; `shift` adds drift. "
        "They are marked as simulated and never used to evaluate a version.",
        response_model=RatingsAnswer,
        dependencies=[context.guard.require("train")],
        responses=responses(503),
    )
    async def generate_ratings(body: GenerateRequest) -> Response:
        version = context.champion(MODEL).model
        written = await asyncio.to_thread(_simulate, context, version, body)
        return json_response(count(written, simulated=True))

    return routes


def _receive(context: Context, body: RatingsFeedback) -> dict[str, Any]:
    now, champion = time.time(), context.slots[MODEL].current
    known = queries.select_known_movies(context.warehouse, (rated.movie_id for rated in body.ratings))
    errors: list[dict[str, str]] = []
    seen: set[tuple[int, int]] = set()

    def add_error(pointer: str, code: str, detail: str) -> None:
        errors.append({"pointer": pointer, "code": code, "detail": detail})

    for place, rated in enumerate(body.ratings):
        where = f"body/ratings/{place}"
        if rated.movie_id not in known:
            add_error(f"{where}/movie_id", "unknown_movie", "no movie has this id; GET /movies?query=… finds ids")
        # Without a champion only the shape of the body restricts the scale (half stars).
        if champion is not None and (problem := check_scale(champion.model, rated.rating)):
            add_error(f"{where}/rating", "off_scale", problem)
        if rated.rated_at is not None and rated.rated_at > now + 60:
            add_error(f"{where}/rated_at", "in_the_future", "seconds since 1970 UTC that lie in the future")
        if (rated.user_id, rated.movie_id) in seen:
            add_error(where, "twice", "the request has another rating of this movie by this user")
        seen.add((rated.user_id, rated.movie_id))
    if errors:
        detail = f"{len(errors)} error(s) in these ratings; nothing was written."
        raise Problem(422, detail, kind="invalid-ratings", errors=errors[:MAX_ERRORS])
    columns: dict[str, np.ndarray] = {
        "user_id": np.array([rated.user_id for rated in body.ratings], dtype=np.int64),
        "movie_id": np.array([rated.movie_id for rated in body.ratings], dtype=np.int64),
        "rating": np.array([rated.rating for rated in body.ratings], dtype=np.float32),
        "rated_at": np.array([rated.rated_at or int(now) for rated in body.ratings], dtype=np.int64),
    }
    return _write(context, columns, simulated=False, received_at=int(now * 1000))


def check_scale(version: Recommender, rating: float) -> str | None:
    """Why a rating is not on the scale of the version (older sets have whole stars only); None: it is."""
    steps = (rating - version.low) / version.step
    if version.low <= rating <= version.high and steps == round(steps):
        return None
    return f"ratings of these movies are {version.low:g} to {version.high:g} in steps of {version.step:g}"


def _simulate(context: Context, version: Any, body: GenerateRequest) -> dict[str, Any]:
    from accident_reco.models.movies.data.history import History
    from accident_reco.models.movies.scoring.simulate import count_users, simulate

    stored, _ = count_users(body.count)
    users = np.random.default_rng(body.seed).permutation(version.user_id)[:stored].tolist()
    # Earlier simulated ratings do not count as seen: the same seed gives the same ratings.
    found = queries.read_user_histories(context.warehouse, users, newer_than=0, simulated=False)
    now = time.time()
    columns = simulate(
        version,
        {user: History(**history) for user, history in found.items()},
        body.count,
        seed=body.seed,
        shift=body.shift,
        now=int(now),
        holdout_share=context.settings.of(MovieSettings).movies_holdout_share,
    )
    return _write(context, columns, simulated=True, received_at=int(now * 1000))


def _write(context: Context, columns: dict[str, np.ndarray], *, simulated: bool, received_at: int) -> dict[str, Any]:
    users = np.unique(columns["user_id"]).tolist()
    stored = queries.select_existing_users(context.warehouse, users)
    written = queries.add_ratings(context.warehouse, columns, simulated=simulated, received_at=received_at)
    return {"received": len(columns["user_id"]), **written, "users": len(users), "new_users": len(users) - len(stored)}
