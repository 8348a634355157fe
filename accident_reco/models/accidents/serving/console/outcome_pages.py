"""How a predicted accident turned out: a form for one prediction, by its id or straight from an answer."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from accident_reco.models.accidents.serving.console.form_layout import Words, choose_language
from accident_reco.models.accidents.serving.console.texts import build_translator
from serving.console.api import ApiProblem
from serving.console.context import Console
from serving.console.page import Page, page_router
from serving.console.problem_pages import describe_api_problem


def router(console: Console, model: str) -> APIRouter:
    """The pages of one model."""
    routes = page_router(console, "feedback")
    base = f"/m/{model}"
    path = f"{base}/outcome"

    def show(page: Page, lang: str, status: int = 200, **values: Any) -> Response:
        language = choose_language(lang, page.headers.get("accept-language", ""))
        shown = {"prediction_id": "", "severity": "", "problem": None, "done": ""} | values
        common = {"base": base, "model": model, "language": language, "t": build_translator(language)}
        template = "outcome_part.html" if page.is_htmx else "outcome.html"
        return page.render(f"{model}/{template}", status, severities=Words(language).severities(), **(common | shown))

    @routes.get(path)
    async def show_form(page: Page, prediction_id: str = "", lang: str = "") -> Response:
        return show(page, lang, prediction_id=prediction_id[:40])

    @routes.post(path)
    async def report(page: Page) -> Response:
        fields = await page.form_fields()
        given: dict[str, Any] = {name: str(fields.get(name, "")).strip() for name in ("prediction_id", "severity")}
        language = choose_language(str(fields.get("lang", "")), page.headers.get("accept-language", ""))
        severity = int(given["severity"]) if given["severity"].isdecimal() else None
        body = {"prediction_id": given["prediction_id"], "severity": severity}
        try:
            stored = await page.api.post("predict", f"/feedback/{model}", body)
        except ApiProblem as refused:
            problem = describe_api_problem(refused)
            return show(page, language, problem.status, problem=problem, **given)
        t = build_translator(language)
        done = t("reported_before") if stored["status"] == "known" else t("reported")
        if page.is_htmx:
            return show(page, language, done=done, **given)
        return page.redirect(f"{path}?lang={language}", done)

    return routes
