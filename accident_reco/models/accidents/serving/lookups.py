"""`GET /<model>/codebook`, `…/departments` and `…/nearest-commune`: what a form needs besides predictions."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from accident_reco.models.accidents.scoring.communes import Communes
from accident_reco.models.accidents.serving.form_document import Codebook, build_codebook
from serving.common.app import build_router, json_response
from serving.common.problems import Problem, responses
from serving.predict.context import Context
from serving.predict.schemas import ServedVersion

MAX_KILOMETRES: Final = 100
"""A location further from every commune is not in the territory of the data."""


class Centre(BaseModel):
    """Centre of the training accidents of a department."""

    dep: str = Field(description="INSEE code")
    lat: float
    long: float


class DepartmentsAnswer(ServedVersion):
    """Departments that the version knows."""

    departments: list[Centre]


class CommuneAnswer(ServedVersion):
    """The commune that is nearest to a location."""

    com: str = Field(description="INSEE code of the commune")
    dep: str = Field(description="INSEE code of its department")
    lat: float = Field(description="Latitude of the centre of its training accidents")
    long: float = Field(description="Longitude of that centre")
    accidents: int = Field(description="Number of its training accidents")
    distance_km: float = Field(description="Distance between its centre and the location")


def router(context: Context, model: str) -> APIRouter:
    """Router with the look-ups of one model."""
    routes = build_router("predict", requires=context.guard.require("predict"))

    @routes.get(
        f"/{model}/codebook",
        name=f"codebook_{model}",
        summary="Fields of a prediction's request with their codes, in French and English",
        response_model=Codebook,
    )
    async def codebook(request: Request) -> Response:
        content = build_codebook().model_dump_json().encode()
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        headers = {"ETag": tag, "Cache-Control": "private, max-age=3600"}
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, 200, headers, "application/json")

    @routes.get(
        f"/{model}/departments",
        name=f"departments_{model}",
        summary="Centres of the departments in the training data",
        response_model=DepartmentsAnswer,
        responses=responses(503),
    )
    async def departments() -> Response:
        served, communes = _get_communes(context, model)
        found = [{"dep": dep, "lat": lat, "long": long} for dep, (lat, long) in communes.departments().items()]
        return json_response({**served, "departments": found})

    @routes.get(
        f"/{model}/nearest-commune",
        name=f"nearest_commune_{model}",
        summary="The commune in the training data that is nearest to a location",
        response_model=CommuneAnswer,
        responses=responses(404, 503),
    )
    async def nearest_commune(
        lat: Annotated[float, Query(ge=-90, le=90, allow_inf_nan=False, description="Latitude in degrees")],
        long: Annotated[float, Query(ge=-180, le=180, allow_inf_nan=False, description="Longitude in degrees")],
    ) -> Response:
        served, communes = _get_communes(context, model)
        commune = communes.find_nearest(lat, long)
        if commune is None or commune.distance_km > MAX_KILOMETRES:
            raise Problem(
                404,
                f"No commune of the training data is within {MAX_KILOMETRES} km of this location.",
                kind="no-commune",
            )
        return json_response({**served, **asdict(commune)})

    return routes


def _get_communes(context: Context, model: str) -> tuple[dict[str, Any], Communes]:
    """What every answer states about the champion, and its communes. Raises Problem 503 where there is no champion."""
    champion = context.champion(model)
    served = {"model": champion.name, "version": champion.version, "data_source": champion.data_source}
    return served, champion.model.communes
