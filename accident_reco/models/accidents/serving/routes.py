"""`POST /predict/<model>`: probability that each road user is killed or hospitalised."""

from __future__ import annotations

import operator
import time
from typing import Annotated, Any, Final

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from accident_reco.models.accidents.scoring.answer import PREDICTION_ID, build_answer_rows
from accident_reco.models.accidents.scoring.scorer import Answer
from accident_reco.models.accidents.serving.answers import AccidentsAnswer
from accident_reco.models.accidents.serving.columns import (
    RawRows,
    ScoringRows,
    from_accidents,
    merge_rows,
)
from accident_reco.models.accidents.serving.request import MAX_USERS, AccidentsRequest, PredictRequest
from serving.common.app import build_router, json_response
from serving.common.problems import Problem, responses
from serving.predict.context import Context
from serving.predict.model_slot import Champion
from serving.predict.prediction_log import new_id
from serving.predict.rollout.work import Division, Method, Outcome, Work

MAX_EXPLAINED: Final = 100
Explain = Annotated[bool, Query(description="Add the strongest factors of each probability, known and missing fields")]
Advise = Annotated[bool, Query(description="Add the missing fields that are most worth asking for")]
_NO_ADVICE: Final = "This version was trained before advice existed; fix: train again."
_EXAMPLE: Final = {
    "accidents": [
        {
            "an": 2024,
            "mois": 6,
            "jour": 14,
            "hrmn": "17:45",
            "lum": 1,
            "agg": 1,
            "int": 1,
            "atm": 1,
            "col": 3,
            "catr": 3,
            "vma": 80,
            "dep": "59",
            "vehicles": [{"id": "A", "catv": 7}, {"id": "B", "catv": 33}],
            "users": [
                {"vehicle": "A", "catu": 1, "place": 1, "sexe": 1, "an_nais": 1980, "secu1": 1},
                {"vehicle": "B", "catu": 1, "place": 1, "sexe": 1, "an_nais": 2001, "secu1": 2},
            ],
        }
    ],
}
_SHORT_EXAMPLE: Final = {"records": [{"catu": 1, "catv": 33, "catr": 3, "agg": 1, "an_nais": 2001, "an": 2024}]}


def router(context: Context, model: str) -> APIRouter:
    """Router with the endpoint of one model, served by its champion."""
    routes = build_router("predict", requires=context.guard.require("predict"))

    @routes.post(
        f"/predict/{model}",
        name=f"predict_{model}",
        summary="Probability that each road user is killed or hospitalised",
        description="Whole accidents (`accidents`) or single road users (`records`), 1 to 1,000. Fields have their "
        "official BAAC names and codes; what is absent, null or -1 is unknown.",
        response_model=AccidentsAnswer,
        responses=responses(503),
        openapi_extra={
            "requestBody": {
                "content": {
                    "application/json": {
                        "examples": {
                            "accident": {"summary": "A whole accident", "value": _EXAMPLE},
                            "record": {"summary": "One road user", "value": _SHORT_EXAMPLE},
                        }
                    }
                }
            }
        },
    )
    async def predict(
        body: PredictRequest, request: Request, explain: Explain = False, advise: Advise = False
    ) -> Response:
        champion = context.champion(model)
        started = time.perf_counter()
        if isinstance(body, AccidentsRequest):
            accidents: list[Any] = body.accidents
            n = sum(len(accident.users) for accident in accidents)
            if n > MAX_USERS:
                raise Problem(
                    422, f"The accidents have {n} users together; at most {MAX_USERS} per call.", kind="too-many-users"
                )
            rows = from_accidents(accidents)
        else:
            rows = body.rows
        work = Work(_METHOD, rows.raw)
        served = await context.serve_together(champion, request, work)
        version = served.version
        users = build_predictions(served.result)
        if explain or advise:
            _check_size(users)
        if explain:
            await _add_factors(version, rows, users)
        if advise:
            await _add_advice(version, rows, users)
        answer = _build_answer(version, rows, served.result, users)
        logged = build_log_rows(rows.inputs, users)
        context.record(version, request, "json", time.perf_counter() - started, **logged)
        context.compare(served, request, work, logged["ids"], rows.inputs)
        return json_response(answer)

    return routes


def _list_outcomes(scored: Answer) -> list[Outcome]:
    return [Outcome(score, severe) for score, severe in zip(scored.probability.tolist(), scored.severe, strict=True)]


def _score(version: Champion[Any], rows: RawRows) -> Answer:
    scored: Answer = version.model.answer(rows.columns)
    return scored


_METHOD: Final = Method(_score, _list_outcomes, merge_rows, division=Division(operator.attrgetter("n"), Answer.divide))


def _check_size(users: list[dict[str, Any]]) -> None:
    """Explanation and advice take milliseconds per user: a thousand in one request would block others."""
    if len(users) > MAX_EXPLAINED:
        raise Problem(
            422, f"{len(users)} users cannot be explained in one call; at most {MAX_EXPLAINED}.", kind="too-many-users"
        )


async def _add_factors(champion: Champion[Any], rows: ScoringRows, users: list[dict[str, Any]]) -> None:
    """Add the strongest factors to each answer, in a thread, since they take milliseconds per user."""
    found = await run_in_threadpool(champion.model.explain_rows, rows.columns)
    for user, explanation in zip(users, found, strict=True):
        # Not `asdict`, which copies every value deeply and would cost as much as the arithmetic.
        user |= {name: [vars(factor) for factor in part] for name, part in vars(explanation).items()}


async def _add_advice(champion: Champion[Any], rows: ScoringRows, users: list[dict[str, Any]]) -> None:
    """Add to each answer the missing fields to ask for, in a thread; null for a version without the values."""
    if not champion.model.can_advise:
        rows.warnings.append(_NO_ADVICE)
        for user in users:
            user["advice"] = None
        return
    found = await run_in_threadpool(champion.model.advise, rows.columns)
    for user, advice in zip(users, found, strict=True):
        user["advice"] = [vars(one) for one in advice]


def build_predictions(scored: Answer) -> list[dict[str, Any]]:
    """The answer for each row, with prediction ids `<request>-<row>`."""
    return build_answer_rows(scored, make_ids(len(scored.probability)))


def make_ids(count: int) -> list[str]:
    """Prediction ids `<call>-<row>` of so many rows."""
    prefix = new_id()
    return [f"{prefix}-{row}" for row in range(count)]


def build_log_rows(inputs: list[dict[str, Any]], users: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Arguments of `Context.record` for the rows of a request."""
    return {
        "ids": [user[PREDICTION_ID] for user in users],
        "inputs": inputs,
        "scores": [user["probability"] for user in users],
        "answers": [user["severity"] for user in users],
    }


def _build_answer(
    champion: Champion[Any], rows: ScoringRows, scored: Any, users: list[dict[str, Any]]
) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "model": champion.name,
        "version": champion.version,
        "data_source": champion.data_source,
        "threshold": float(champion.model.threshold),
        "context": rows.context,
        "warnings": rows.warnings,
    }
    if rows.accident is None:
        answer["predictions"] = users
        return answer
    n_accidents = int(rows.accident[-1]) + 1
    none_severe = np.ones(n_accidents)
    np.multiply.at(none_severe, rows.accident, 1.0 - scored.probability)
    accidents = [{"any_grave_probability": p, "users": []} for p in (1.0 - none_severe).round(6).tolist()]
    for position, user in zip(rows.accident.tolist(), users, strict=True):
        accidents[position]["users"].append(user)
    answer["accidents"] = accidents
    return answer
