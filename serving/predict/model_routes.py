"""`GET /models` and `GET /models/{model}`: champions and versions with their gate decisions."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from starlette.responses import Response

from serving.common.app import build_router, json_response
from serving.common.problems import Problem, responses
from serving.predict.context import Context
from serving.predict.model_slot import ModelSlot
from serving.predict.schemas import ModelDetails, ModelSummary

MAX_VERSIONS: Final = 50

ModelName = Annotated[str, Path(description="Model name, as in `GET /models`", max_length=40)]


def get_slot(context: Context, model: str) -> ModelSlot[Any]:
    """The slot of a model name in a path. Raises Problem 404."""
    slot = context.slots.get(model)
    if slot is None:
        raise Problem(404, f"There is no such model; models are {', '.join(context.slots)}.", kind="no-such-model")
    return slot


def router(context: Context) -> APIRouter:
    """The endpoints."""
    routes = build_router("models", requires=context.guard.require("predict"))

    @routes.get("/models", summary="List models with their champions", response_model=list[ModelSummary])
    async def list_models() -> Response:
        return json_response([_summarize(slot) for slot in context.slots.values()])

    @routes.get(
        "/models/{model}",
        summary="Get a model: champion, versions, metrics, gate decisions",
        response_model=ModelDetails,
        responses=responses(404, 503),
    )
    async def get_model(model: ModelName) -> Response:
        slot = get_slot(context, model)
        try:
            versions = await asyncio.to_thread(_list_versions, context, slot)
        except (OSError, RuntimeError, ValueError) as error:
            raise Problem(
                503,
                f"The model store cannot be read now ({type(error).__name__}).",
                kind="store-down",
                headers={"Retry-After": "5"},
            ) from None
        return json_response({**_summarize(slot), "versions": versions})

    return routes


def _summarize(slot: ModelSlot[Any]) -> dict[str, Any]:
    current = slot.current
    return {
        "model": slot.name,
        "champion": current.version if current else None,
        "data_source": current.data_source if current else None,
        "promoted_at": current.pointer.promoted_at if current else None,
        "reason": current.pointer.reason if current else None,
        "metrics": current.manifest.metrics if current else {},
        "problem": slot.problem,
    }


def _list_versions(context: Context, slot: ModelSlot[Any]) -> list[dict[str, Any]]:
    store = context.open_models()
    manifests = [store.manifest(slot.name, version) for version in store.versions(slot.name)]
    manifests.sort(key=lambda manifest: manifest.created_at, reverse=True)
    champion = slot.current.version if slot.current else None
    return [
        {
            "version": manifest.version,
            "created_at": manifest.created_at,
            "champion": manifest.version == champion,
            "metrics": manifest.metrics,
            "gate": manifest.gate,
            "lineage": manifest.lineage,
        }
        for manifest in manifests[:MAX_VERSIONS]
    ]
