"""`POST /predict/<model>/csv`: whole files of road users, in bounded memory; streamed where the form allows it.

How a file is read and scored is in `scoring.files`; here are HTTP, the spools between client and scoring, and the log.
"""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from prometheus_client import Counter
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from accident_reco.models.accidents.scoring.files.answers import WRITERS
from accident_reco.models.accidents.scoring.files.limits import FileLimits
from accident_reco.models.accidents.serving.negotiation import ACCEPTED, MULTIPART, choose_media_type, get_media_type
from accident_reco.models.accidents.serving.upload import Turns, Upload, scored_upload
from accident_reco.models.accidents.settings import AccidentSettings
from accident_reco.settings import Settings
from serving.common.app import build_router
from serving.common.problems import Problem, responses
from serving.predict.context import Context

_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
_EXAMPLE: Final = "Num_Acc;id_vehicule;catu;sexe;catv\n202400000001;155781758;1;1;7\n"
_DESCRIPTION: Final = (
    "A file with one road user per line (CSV, `.csv.gz`, Parquet; first line: official BAAC column names), or the four "
    "published files (zip, or multipart with a part for each). Lines with the same `Num_Acc` are one accident: "
    "`context` is `full` where its lines were seen together, else `partial`. Every road user gets a probability; "
    "`notes` states what was read as unknown or repaired, `error` why a line is no row. The answer is CSV, JSON lines "
    "or Parquet by Accept, with one row for each line. All lines are scored by the version that is the champion at the "
    "first line."
)

Locations = Annotated[bool, Query(description="Add the columns `dep`, `com`, `lat`, `long` of the accident, as read")]


def get_path(model: str) -> str:
    """Path of the endpoint of a model."""
    return f"/predict/{model}/csv"


def build_limits(settings: Settings) -> FileLimits:
    """Limits of an uploaded file."""
    return FileLimits(
        rows=settings.max_upload_rows,
        unpacked_bytes=settings.max_unpacked_bytes,
        published_bytes=settings.max_joined_bytes,
        window_lines=settings.of(AccidentSettings).accidents_window_lines,
    )


def router(context: Context, model: str) -> APIRouter:
    """Router with the endpoint of one model."""
    routes = build_router("predict", requires=context.guard.require("predict"))
    outcomes: Counter = context.metrics.counter(
        "csv_rows", "Lines of uploaded files by model and outcome", ("model", "outcome")
    )
    limits, turns = build_limits(context.settings), Turns()

    @routes.post(
        get_path(model),
        name=f"predict_{model}_csv",
        summary="Predict for a file of road users",
        description=_DESCRIPTION,
        response_class=Response,
        responses={
            200: {
                "content": {"text/csv": {"schema": {"type": "string"}}}
                | {media_type: _BINARY for media_type in WRITERS if media_type != "text/csv"},
                "description": "One row for each line",
            },
            **responses(406, 413, 415, 422, 503),
        },
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "text/csv": {"schema": {"type": "string"}, "example": _EXAMPLE},
                    "application/gzip": _BINARY,
                    "application/zip": _BINARY,
                    "application/vnd.apache.parquet": _BINARY,
                    MULTIPART: {
                        "schema": {
                            "type": "object",
                            "properties": {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                        }
                    },
                },
            }
        },
    )
    async def predict_file(request: Request, locations: Locations = False) -> Response:
        media_type = get_media_type(request.headers.get("content-type", ""))
        if media_type not in ACCEPTED:
            raise Problem(
                415,
                "Send CSV (Content-Type: text/csv), gzip, zip, Parquet or multipart/form-data.",
                kind="not-csv",
            )
        answer_type = choose_media_type(request.headers.get("accept"), tuple(WRITERS))
        if answer_type is None:
            raise Problem(406, f"The answer can be {', '.join(WRITERS)}.", kind="not-acceptable")
        champion = context.champion(model)
        writer = WRITERS[answer_type](with_locations=locations)
        upload = Upload(context, champion, request, outcomes, limits, turns, writer)
        # Errors of the header, or of a file that is read as a whole, are a 4xx; after that the answer has begun.
        await upload.begin(is_multipart=media_type == MULTIPART)
        return _DuplexResponse(
            scored_upload(upload),
            media_type=writer.media_type,
            headers={"x-model-version": champion.version, "x-data-source": _to_ascii(champion.data_source)},
        )

    return routes


class _DuplexResponse(StreamingResponse):
    """Streams the answer while the request is still being received.

    Starlette's own response would listen for a disconnect meanwhile and consume the rest of the upload.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.stream_response(send)


def _to_ascii(value: str) -> str:
    return value.encode("ascii", "replace").decode()
