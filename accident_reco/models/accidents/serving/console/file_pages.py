"""Whole files: upload, summary, download, and what is in a file. The predict service does the work, in one pass.

The page's script sends a file once and gets the summary and the result in one answer; without a script there is a
button for each. Nothing of a file stays on the console: the result waits in a temporary file while it is read.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from typing import IO, Any, Final

import httpx
from fastapi import APIRouter
from starlette.responses import Response, StreamingResponse

from accident_reco.models.accidents.serving.console.file_summary import CSV, PARQUET, FileSummary, summarise
from accident_reco.models.accidents.serving.console.form_layout import Language, Words, choose_language
from accident_reco.models.accidents.serving.console.france_map import HEIGHT, WIDTH
from accident_reco.models.accidents.serving.console.texts import build_translator
from accident_reco.settings import Settings
from serving.common.middleware import RouteLimits
from serving.common.problems import Problem
from serving.console.api import ApiProblem
from serving.console.context import Console
from serving.console.page import Page, page_router
from serving.console.problem_pages import describe_api_problem

FORMS: Final = {"csv": CSV, "parquet": PARQUET}
"""Name of a form of the result → its media type."""
_MEMORY: Final = 4 << 20
_PIECE: Final = 1 << 18
_CONNECT_SECONDS: Final = 3.0


def build_limits(model: str, settings: Settings) -> dict[str, RouteLimits]:
    """Path → limits of uploads."""
    limits = RouteLimits(settings.max_upload_bytes, settings.upload_seconds, settings.body_idle_seconds)
    return {f"/m/{model}/file/{action}": limits for action in ("summary", "download", "result", "inspection")}


def router(console: Console, model: str) -> APIRouter:
    """The pages of one model."""
    routes = page_router(console, "predict")
    base = f"/m/{model}"
    timeout = httpx.Timeout(console.settings.upload_seconds, connect=_CONNECT_SECONDS)

    def build_common(language: Language) -> dict[str, Any]:
        return {
            "base": base,
            "model": model,
            "language": language,
            "t": build_translator(language),
            "words": Words(language),
            "map_size": (WIDTH, HEIGHT),
        }

    def show(page: Page, lang: str, status: int = 200, **values: Any) -> Response:
        language = choose_language(lang, page.headers.get("accept-language", ""))
        shown = {"summary": None, "inspection": None, "problem": None} | values
        return page.render(f"{model}/file.html", status, **(build_common(language) | shown))

    async def score(page: Page, form: str, result: IO[bytes]) -> FileSummary:
        """Score the body into a temporary file. Raises ApiProblem, and Problem 502 for a result that broke off."""
        async with page.api.stream(
            "predict",
            "POST",
            f"/predict/{model}/csv",
            query={"locations": "true"},
            content=page.stream(),
            headers={"content-type": page.headers.get("content-type", ""), "accept": FORMS[form]},
            timeout=timeout,
        ) as response:
            async for piece in response.aiter_bytes(_PIECE):
                result.write(piece)
        try:
            return await asyncio.to_thread(summarise, result, FORMS[form])
        except ValueError:
            raise Problem(502, "The result of the predict service is not complete; send the file again.") from None

    @routes.get(f"{base}/file")
    async def show_form(page: Page, lang: str = "") -> Response:
        return show(page, lang)

    @routes.post(f"{base}/file/summary")
    async def show_summary(page: Page, lang: str = "") -> Response:
        with tempfile.SpooledTemporaryFile(_MEMORY) as result:
            try:
                summary = await score(page, "csv", result)
            except ApiProblem as refused:
                problem = describe_api_problem(refused)
                return show(page, lang, problem.status, problem=problem)
            return show(page, lang, summary=summary)

    @routes.post(f"{base}/file/result")
    async def return_result(page: Page, form: str = "csv", lang: str = "") -> Response:
        """For the page's script: the summary as HTML, then the result; the header states where the one ends."""
        require_form(form)
        # Closed by `_send`, after the response.
        result = tempfile.SpooledTemporaryFile(_MEMORY)  # noqa: SIM115
        try:
            summary = await score(page, form, result)
            language = choose_language(lang, page.headers.get("accept-language", ""))
            values = build_common(language) | {"summary": summary, "with_download": True}
            html = bytes(page.render(f"{model}/file_summary.html", **values).body)
            size = result.seek(0, 2)
        except BaseException:
            result.close()
            raise
        headers = {"x-summary-bytes": str(len(html)), "content-length": str(len(html) + size)}
        return StreamingResponse(_send(html, result), headers=headers, media_type="application/octet-stream")

    @routes.post(f"{base}/file/download")
    async def download(page: Page, form: str = "csv") -> Response:
        require_form(form)
        context = page.api.stream(
            "predict",
            "POST",
            f"/predict/{model}/csv",
            content=page.stream(),
            headers={"content-type": page.headers.get("content-type", ""), "accept": FORMS[form]},
            timeout=timeout,
        )
        response = await context.__aenter__()

        async def pass_on() -> AsyncIterator[bytes]:
            try:
                async for piece in response.aiter_bytes(_PIECE):
                    yield piece
            finally:
                await context.__aexit__(None, None, None)

        headers = {"content-disposition": f'attachment; filename="{model}-scored.{form}"'}
        return StreamingResponse(pass_on(), headers=headers, media_type=FORMS[form])

    @routes.post(f"{base}/file/inspection")
    async def inspect(page: Page, lang: str = "") -> Response:
        try:
            async with page.api.stream(
                "predict",
                "POST",
                f"/inspect/{model}",
                content=page.stream(),
                headers={"content-type": page.headers.get("content-type", "")},
                timeout=timeout,
            ) as response:
                await response.aread()
                found = response.json()
        except ApiProblem as refused:
            problem = describe_api_problem(refused)
            return show(page, lang, problem.status, problem=problem)
        return show(page, lang, inspection=found["files"])

    return routes


def require_form(form: str) -> None:
    """Raises Problem 404 for a form of the result that there is not."""
    if form not in FORMS:
        raise Problem(404, f"A result is {' or '.join(FORMS)}.")


async def _send(html: bytes, result: IO[bytes]) -> AsyncIterator[bytes]:
    try:
        yield html
        result.seek(0)
        while piece := await asyncio.to_thread(result.read, _PIECE):
            yield piece
    finally:
        result.close()
