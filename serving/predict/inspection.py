"""`POST /inspect/{model}`: what an ingestion would read from files, and what it would reject (`accident-reco inspect`).

Stores nothing. The command runs as a process of its own: it needs the libraries of ingestion, which a server does not
load, and its memory is bounded and returned.
"""

from __future__ import annotations

import asyncio
import re
import resource
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Request
from fastapi import Path as PathParameter
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field
from starlette.datastructures import UploadFile
from starlette.requests import Request as FormRequest
from starlette.responses import Response

from accident_reco.settings import Settings
from serving.common.app import build_router, json_response
from serving.common.middleware import RouteLimits
from serving.common.problems import Problem, responses
from serving.predict.context import Context

MAX_FILES: Final = 16
MAX_MEMORY: Final = 6 << 30
"""Address space of the process, in bytes."""
_FORM: Final = "multipart/form-data"
_OTHER: Final = re.compile(r"[^\w .()-]")
_MAX_NAME: Final = 100
_PIECE: Final = 1 << 20

ModelName = Annotated[str, PathParameter(description="Model name", max_length=40)]


class InspectedFile(BaseModel):
    """One file, or one member of an archive."""

    file: str = Field(description="Its name; characters that no published file has are replaced")
    content: str = Field(description="What it holds, such as a table's name and its year")
    layout: str = Field(description="How it is written: era of the format, encoding, separator")
    rows: int = Field(description="Rows that an ingestion reads")
    rejected: dict[str, int] = Field(description="Reason → rows that an ingestion would put into quarantine")
    problem: str = Field(description="Why the file as a whole cannot be read; empty if it can")


class Inspection(BaseModel):
    """What a model would read from the files."""

    model: str
    files: list[InspectedFile] = Field(description="Empty where the model recognises none of them")


def clean_name(name: str, position: int) -> str:
    """The name of a file as one of a temporary folder: its last part, without characters that paths could need."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return _OTHER.sub("_", last)[-_MAX_NAME:].lstrip(". ") or f"file-{position + 1}"


def build_limits(settings: Settings) -> RouteLimits:
    """Limits of one request: those of an upload."""
    return RouteLimits(settings.max_upload_bytes, settings.upload_seconds, settings.body_idle_seconds)


def router(context: Context) -> APIRouter:
    """The endpoint, for all models."""
    routes = build_router("models", requires=context.guard.require("predict"))
    # One at a time: each may take the memory of a year's files.
    turn = asyncio.Semaphore(1)

    @routes.post(
        "/inspect/{model}",
        summary="What an ingestion would read from files, and what it would reject; stores nothing",
        description="A form with one to sixteen files, named as they are published; archives too.",
        response_model=Inspection,
        responses=responses(400, 404, 413, 415, 422, 503),
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    _FORM: {
                        "schema": {
                            "type": "object",
                            "required": ["file"],
                            "properties": {
                                "file": {
                                    "type": "array",
                                    "items": {"type": "string", "format": "binary"},
                                    "minItems": 1,
                                    "maxItems": MAX_FILES,
                                }
                            },
                        }
                    }
                },
            }
        },
    )
    async def inspect(model: ModelName, request: Request) -> Response:
        if model not in context.models:
            raise Problem(404, f"There is no such model; models are {', '.join(context.models)}.", kind="no-such-model")
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
            raise Problem(415, f"Send the files as a form (Content-Type: {_FORM}).", kind="not-form")
        # Starlette's own form, which keeps parts in temporary files; the platform's is for URL-encoded fields.
        async with FormRequest(request.scope, request.receive).form(max_files=MAX_FILES, max_fields=MAX_FILES) as form:
            parts = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
            if not parts:
                raise Problem(422, "There is no file in the form; send it as a part with a file name.", kind="no-file")
            async with turn:
                with tempfile.TemporaryDirectory() as folder:
                    await run_in_threadpool(_save, parts, Path(folder))
                    files = await _inspect(model, folder, context.settings.upload_seconds)
        return json_response({"model": model, "files": files})

    return routes


def _save(parts: Sequence[UploadFile], folder: Path) -> None:
    taken: set[str] = set()
    for position, part in enumerate(parts):
        name = clean_name(part.filename or "", position)
        name = name if name not in taken else f"{position + 1}-{name}"
        taken.add(name)
        with (folder / name).open("xb") as file:
            while piece := part.file.read(_PIECE):
                file.write(piece)


async def _inspect(model: str, folder: str, seconds: float) -> list[dict[str, Any]]:
    """Reports of the command. Raises Problem 422 where it fails, 503 where it takes too long."""
    command = (sys.executable, "-m", "accident_reco.cli", "inspect", folder, "--model", model, "--json")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe)
    try:
        with suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
        async with asyncio.timeout(seconds):
            output, _ = await process.communicate()
    except TimeoutError:
        raise Problem(503, "The files took too long to read; send fewer at once.", kind="timeout") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    # Messages name files below the folder; the folder itself is of no interest.
    output = output.replace(f"{folder}/".encode(), b"").replace(folder.encode(), b"the files")
    try:
        found: list[dict[str, Any]] = orjson.loads(output)[model]
    except (orjson.JSONDecodeError, KeyError):
        raise Problem(422, "The files cannot be read.", kind="unreadable-files") from None
    return found
