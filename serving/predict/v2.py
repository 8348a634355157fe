"""The Open Inference Protocol v2 (KServe, Triton) over the champions: metadata, health, `infer`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, Final, NamedTuple, Protocol

from fastapi import APIRouter, Path, Request
from numpy.typing import NDArray
from starlette.responses import Response

from serving.common.app import build_router, json_response
from serving.common.problems import Problem, responses
from serving.predict.context import Context
from serving.predict.model_slot import Champion
from serving.predict.rollout.work import Method, Outcome, Served, Work, merge_columns
from serving.predict.tensors import DTYPES, TensorSpec, build_response, parse_request

ModelName = Annotated[str, Path(max_length=40, description="Model name")]
Version = Annotated[str, Path(max_length=64, description="The champion, or the challenger of a running rollout")]

_TENSOR: Final = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1, "maxItems": 2},
        "datatype": {"type": "string", "enum": list(DTYPES)},
        "parameters": {"type": "object"},
        "data": {"type": "array", "items": {}},
    },
}
_REQUEST: Final = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string", "maxLength": 64},
        "parameters": {"type": "object"},
        "inputs": {"type": "array", "minItems": 1, "items": _TENSOR},
        "outputs": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
    },
}
_EXAMPLE: Final = {"inputs": [{"name": "column", "shape": [2], "datatype": "INT32", "data": [1, 3]}]}
_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _REQUEST, "example": _EXAMPLE},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


class InferenceResult(NamedTuple):
    """Outputs by tensor name (datatype and values, one per row), and the rows for the prediction log."""

    outputs: dict[str, tuple[str, NDArray[Any]]]
    ids: list[str]
    inputs: list[dict[str, Any]]
    scores: list[float]
    answers: list[Any]

    def outcomes(self) -> list[Outcome]:
        """Score and class of each row."""
        return [Outcome(score, answer) for score, answer in zip(self.scores, self.answers, strict=True)]

    def logged(self) -> dict[str, list[Any]]:
        """Arguments of `Context.record`: one entry per row of the call."""
        return {"ids": self.ids, "inputs": self.inputs, "scores": self.scores, "answers": self.answers}


class InferenceAdapter(Protocol):
    """A model's side of the protocol: from tensors to the loaded version and back."""

    platform: str
    """Name of the runtime in the metadata."""

    max_rows: int
    """Maximum number of rows of one request."""

    @property
    def example(self) -> Mapping[str, Sequence[Any]]:
        """Columns of a valid request, for documentation."""

    def inputs(self, champion: Champion[Any]) -> dict[str, TensorSpec]:
        """Input name → tensor that a request may have."""

    def outputs(self) -> list[TensorSpec]:
        """Tensors that a response may have."""

    def infer(self, champion: Champion[Any], columns: Mapping[str, NDArray[Any]]) -> InferenceResult:
        """Predictions for columns of equal length. Raises Problem 422."""


def health_router(context: Context) -> APIRouter:
    """Health endpoints; without authentication."""
    routes = build_router("open inference protocol")

    @routes.get("/v2/health/live", summary="Liveness", response_model=dict[str, bool])
    async def v2_live() -> Response:
        return json_response({"live": True})

    @routes.get(
        "/v2/health/ready",
        summary="Readiness of all models",
        response_model=dict[str, bool],
        responses={503: {"description": "Not ready"}},
    )
    async def v2_ready() -> Response:
        ready = all(slot.ready for slot in context.slots.values()) and any(s.current for s in context.slots.values())
        return json_response({"ready": ready}, 200 if ready else 503)

    return routes


def router(context: Context) -> APIRouter:
    """Endpoints of metadata and inference."""
    routes = build_router("open inference protocol", requires=context.guard.require("predict"))
    adapters = {name: model.serving().inference() for name, model in context.models.items()}
    methods = {
        name: Method(adapter.infer, InferenceResult.outcomes, merge_columns, key=frozenset)
        for name, adapter in adapters.items()
    }

    @routes.get("/v2", summary="Server metadata", response_model=dict[str, Any])
    async def v2_server() -> Response:
        return json_response(
            {"name": "accident_reco", "version": _get_package_version(), "extensions": ["binary_tensor_data"]}
        )

    def metadata_response(champion: Champion[Any]) -> Response:
        adapter = adapters[champion.name]
        return json_response(
            {
                "name": champion.name,
                "versions": [champion.version],
                "platform": adapter.platform,
                "inputs": [spec.document() for spec in adapter.inputs(champion).values()],
                "outputs": [spec.document() for spec in adapter.outputs()],
            }
        )

    @routes.get(
        "/v2/models/{model}",
        summary="Model metadata",
        response_model=dict[str, Any],
        responses=responses(404, 503),
    )
    async def v2_model(model: ModelName) -> Response:
        return metadata_response(_get_champion(context, model))

    @routes.get(
        "/v2/models/{model}/versions/{version}",
        summary="Metadata of a version",
        response_model=dict[str, Any],
        responses=responses(404, 503),
    )
    async def v2_model_version(model: ModelName, version: Version) -> Response:
        return metadata_response(_get_champion(context, model, version))

    @routes.get(
        "/v2/models/{model}/ready",
        summary="Readiness of a model",
        response_model=dict[str, Any],
        responses=responses(404, 503),
    )
    async def v2_model_ready(model: ModelName) -> Response:
        return json_response({"name": _get_champion(context, model).name, "ready": True})

    @routes.get(
        "/v2/models/{model}/versions/{version}/ready",
        summary="Readiness of a version",
        response_model=dict[str, Any],
        responses=responses(404, 503),
    )
    async def v2_model_version_ready(model: ModelName, version: Version) -> Response:
        return json_response({"name": _get_champion(context, model, version).name, "ready": True})

    async def infer(champion: Champion[Any], request: Request, may_choose: bool) -> Response:
        started = time.perf_counter()
        adapter = adapters[champion.name]
        call = parse_request(
            await request.body(),
            request.headers.get("inference-header-content-length"),
            adapter.inputs(champion),
            adapter.max_rows,
        )
        work = Work(methods[champion.name], call.columns)
        # A version named in the path answers itself.
        served = context.serve(champion, request, work) if may_choose else Served(champion, work.call(champion))
        scored, version = served.result, served.version
        body, headers = build_response(version.name, version.version, call, scored.outputs)
        context.record(version, request, "v2", time.perf_counter() - started, **scored.logged())
        if may_choose:
            context.compare(served, request, work, scored.ids, scored.inputs)
        return Response(body, headers=headers)

    @routes.post(
        "/v2/models/{model}/infer",
        summary="Inference with the champion",
        response_model=dict[str, Any],
        responses=responses(404, 422, 503),
        openapi_extra=_BODY,
    )
    async def v2_infer(model: ModelName, request: Request) -> Response:
        return await infer(_get_champion(context, model), request, may_choose=True)

    @routes.post(
        "/v2/models/{model}/versions/{version}/infer",
        summary="Inference with a version",
        response_model=dict[str, Any],
        responses=responses(404, 422, 503),
        openapi_extra=_BODY,
    )
    async def v2_infer_version(model: ModelName, version: Version, request: Request) -> Response:
        return await infer(_get_champion(context, model, version), request, may_choose=False)

    return routes


def _get_champion(context: Context, model: str, version: str | None = None) -> Champion[Any]:
    if model not in context.slots:
        detail = f"There is no such model; models are {', '.join(context.slots)}."
        raise Problem(404, detail, kind="no-such-model", error=detail)
    champion = context.champion(model)
    if version is not None and version != champion.version:
        rollout = context.rollouts.get(model)
        challenger = rollout.find(version) if rollout else None
        if challenger is not None:
            return challenger
        detail = f"Only the champion serves: {champion.version}."
        raise Problem(404, detail, kind="no-such-version", error=detail)
    return champion


def _get_package_version() -> str:
    try:
        return version("accident-reco")
    except PackageNotFoundError:
        return "0"
