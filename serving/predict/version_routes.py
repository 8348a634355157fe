"""`GET /models/{model}/versions/{version}` and `GET /models/{model}/decisions`: the evidence behind a champion."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from accident_reco.lifecycle.bundle import CARD_FILE, Manifest
from accident_reco.lifecycle.evaluation import EVALUATION_FILE, read_evaluation
from accident_reco.lifecycle.store import ModelStore, NoSuchVersion
from accident_reco.storage.clock import as_utc
from accident_reco.storage.lifecycle import promotion_history
from accident_reco.storage.objects import ObjectNotFound
from serving.common.app import build_router, json_response
from serving.common.problems import Problem, responses
from serving.predict.context import Context
from serving.predict.model_routes import ModelName, get_slot
from serving.predict.schemas import VersionSummary


class VersionDetails(VersionSummary):
    """A version with its documents."""

    model: str
    files: dict[str, Any] = Field(description="File name → sha256 and size")
    card: str | None = Field(description="Model card, Markdown; null for a version without one")
    evaluation: dict[str, Any] | None = Field(
        description="Slices, calibration, confusion and importances on the holdout; null for older versions"
    )


class GateDecision(BaseModel):
    """A decision of the audit."""

    version: str = Field(description="Evaluated version")
    previous: str | None = Field(description="Champion before the decision")
    action: str = Field(description="promote, refuse or rollback")
    promoted: bool = Field(description="Whether the champion changed")
    reason: str
    detail: dict[str, Any] = Field(description="Policy, metrics and comparison with intervals, as the gate saw them")
    run_id: str = Field(description="Dagster run, or the component that requested it")
    decided_at: datetime = Field(description="UTC")


def router(context: Context) -> APIRouter:
    """The endpoints."""
    routes = build_router("models", requires=context.guard.require("predict"))

    @routes.get(
        "/models/{model}/versions/{version}",
        summary="Get a version with model card and evaluation",
        response_model=VersionDetails,
        responses=responses(404, 503),
    )
    async def get_version(
        model: ModelName,
        version: Annotated[str, Path(pattern="^[0-9a-f]{16}$", description="Version from `GET /models/{model}`")],
    ) -> Response:
        slot = get_slot(context, model)
        try:
            found = await asyncio.to_thread(_read_version, context.open_models(), slot.name, version)
        except NoSuchVersion:
            detail = "The store has no such version; GET /models/{model} lists them."
            raise Problem(404, detail, kind="no-such-version") from None
        except (OSError, RuntimeError, ValueError) as error:
            raise Problem(
                503,
                f"The model store cannot be read now ({type(error).__name__}).",
                kind="store-down",
                headers={"Retry-After": "5"},
            ) from None
        champion = slot.current.version if slot.current else None
        return json_response({**found, "champion": version == champion})

    @routes.get(
        "/models/{model}/decisions",
        summary="List promotions, rejections and rollbacks, newest first",
        response_model=list[GateDecision],
        responses=responses(404, 503),
    )
    async def list_decisions(model: ModelName, limit: Annotated[int, Query(ge=1, le=200)] = 50) -> Response:
        name = get_slot(context, model).name
        try:
            rows = await asyncio.to_thread(promotion_history, context.warehouse, name, limit)
        except (SQLAlchemyError, OSError) as error:
            raise Problem(
                503,
                f"Decisions cannot be read now ({type(error).__name__}).",
                kind="warehouse-unavailable",
                headers={"Retry-After": "5"},
            ) from None
        return json_response([_build_decision(row) for row in rows])

    return routes


def _read_version(models: ModelStore, model: str, version: str) -> dict[str, Any]:
    manifest = models.manifest(model, version)
    card, evaluation = (_read_file(models, manifest, name) for name in (CARD_FILE, EVALUATION_FILE))
    return {
        "model": model,
        "version": manifest.version,
        "created_at": manifest.created_at,
        "metrics": manifest.metrics,
        "gate": manifest.gate,
        "lineage": manifest.lineage,
        "files": manifest.files,
        "card": None if card is None else card.decode("utf-8", "replace"),
        "evaluation": None if evaluation is None else read_evaluation(evaluation),
    }


def _read_file(models: ModelStore, manifest: Manifest, name: str) -> bytes | None:
    """A small file of a version, whose other files are not read; None where it has none."""
    if name not in manifest.files:
        return None
    try:
        return models.objects.read(f"models/{manifest.model}/versions/{manifest.version}/{name}")
    except ObjectNotFound:
        return None


def _build_decision(row: dict[str, Any]) -> dict[str, Any]:
    shown = {name: row[name] for name in GateDecision.model_fields if name != "decided_at"}
    return {**shown, "decided_at": as_utc(row["decided_at"]).isoformat(timespec="milliseconds")}
