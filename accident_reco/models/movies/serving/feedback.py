"""`POST /feedback/movies`: new ratings of people; `POST /generate-ratings`: made-up ones, marked as such."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from fastapi import APIRouter
from starlette.responses import Response

from accident_reco.models.movies.data import queries as storage
from accident_reco.models.movies.serving.request import GenerateRequest, RatingsFeedback, WrittenAnswer
from accident_reco.models.movies.settings import MovieSettings
from serving.common.app import build_router, json_response
from serving.common.problems import Problem, responses
from serving.predict.context import Context

if TYPE_CHECKING:
    from accident_reco.models.movies.scoring.recommender import Recommender

MODEL: Final = "movies"
MAX_SHOWN: Final = 20


def router(context: Context) -> APIRouter:
    """The endpoints, over the ratings in the warehouse."""
    routes = build_router("feedback")
    taken = context.metrics.counter("ratings_received", "Ratings taken by outcome", ("simulated", "outcome"))

    def counted(written: dict[str, Any], simulated: bool) -> dict[str, Any]:
        for outcome in ("inserted", "updated", "unchanged"):
            taken.labels(str(simulated).lower(), outcome).inc(written[outcome])
        return written | {"simulated": simulated}

    @routes.post(
        "/feedback/movies",
        summary="Rate movies",
        description="Used by the next recommendation of these users at once, and by the next training. "
        "The same ratings again change nothing.",
        response_model=WrittenAnswer,
        dependencies=[context.guard.require("feedback")],
        responses=responses(422),
    )
    async def feedback_movies(body: RatingsFeedback) -> Response:
        written = await asyncio.to_thread(_take, context, body)
        return json_response(counted(written, simulated=False))

    @routes.post(
        "/generate-ratings",
        summary="Make up new ratings, to try the loop",
        description="By the tastes that the champion has learnt, of stored users and new ones; `shift` provokes drift. "
        "They are marked as simulated and never judge a version.",
        response_model=WrittenAnswer,
        dependencies=[context.guard.require("train")],
        responses=responses(503),
    )
    async def generate_ratings(body: GenerateRequest) -> Response:
        version = context.champion(MODEL).model
        written = await asyncio.to_thread(_generate, context, version, body)
        return json_response(counted(written, simulated=True))

    return routes


def _take(context: Context, body: RatingsFeedback) -> dict[str, Any]:
    now, champion = time.time(), context.slots[MODEL].current
    known = storage.known_movies(context.warehouse, (rated.movie_id for rated in body.ratings))
    errors, seen = [], set()
    for place, rated in enumerate(body.ratings):
        where = f"body/ratings/{place}"
        if rated.movie_id not in known:
            errors.append({"pointer": f"{where}/movie_id", "code": "unknown_movie",
                           "detail": "no movie has this id; GET /movies?query=… finds ids"})  # fmt: skip
        # Until a version serves, the half stars that the shape of the body allows are all that is asked for.
        if champion is not None and (problem := off_scale(champion.model, rated.rating)):
            errors.append({"pointer": f"{where}/rating", "code": "off_scale", "detail": problem})
        if rated.rated_at is not None and rated.rated_at > now + 60:
            errors.append({"pointer": f"{where}/rated_at", "code": "in_the_future",
                           "detail": "seconds since 1970 UTC that lie in the future"})  # fmt: skip
        if (rated.user_id, rated.movie_id) in seen:
            errors.append({"pointer": where, "code": "twice", "detail": "this user rates this movie twice here"})
        seen.add((rated.user_id, rated.movie_id))
    if errors:
        raise Problem(422, f"{len(errors)} thing(s) are wrong with these ratings; nothing was written.",
                      kind="invalid-ratings", errors=errors[:MAX_SHOWN])  # fmt: skip
    columns: dict[str, np.ndarray] = {
        "user_id": np.array([rated.user_id for rated in body.ratings], dtype=np.int64),
        "movie_id": np.array([rated.movie_id for rated in body.ratings], dtype=np.int64),
        "rating": np.array([rated.rating for rated in body.ratings], dtype=np.float32),
        "rated_at": np.array([rated.rated_at or int(now) for rated in body.ratings], dtype=np.int64),
    }
    return _write(context, columns, simulated=False, received_at=int(now * 1000))


def off_scale(version: Recommender, rating: float) -> str | None:
    """Why a rating cannot be one of the set that the version learnt from: older sets know whole stars only."""
    steps = (rating - version.low) / version.step
    if version.low <= rating <= version.high and steps == round(steps):
        return None
    return f"ratings of these movies are {version.low:g} to {version.high:g} in steps of {version.step:g}"


def _generate(context: Context, version: Any, body: GenerateRequest) -> dict[str, Any]:
    from accident_reco.models.movies.data.history import History
    from accident_reco.models.movies.scoring.simulate import people_needed, simulate

    stored, _ = people_needed(body.count)
    people = np.random.default_rng(body.seed).permutation(version.user_id)[:stored].tolist()
    # What was made up before does not count as seen: the same seed makes the same ratings.
    found = storage.user_histories(context.warehouse, people, newer_than=0, simulated=False)
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
    stored = storage.existing_users(context.warehouse, users)
    written = storage.add_ratings(context.warehouse, columns, simulated=simulated, received_at=received_at)
    return {"received": len(columns["user_id"]), **written, "users": len(users), "new_users": len(users) - len(stored)}
