"""Drift of all models: verdicts over time, features drawn, checks on request, decisions of the retrain policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import httpx
import orjson
from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from accident_reco.registry import models as find_models
from serving.common.problems import Problem
from serving.console import plots
from serving.console.api import ApiProblem, segment
from serving.console.context import Console
from serving.console.page import Page, page_router
from serving.console.problem_pages import ProblemPage, describe_api_problem
from serving.console.sections import NavLink, Section

if TYPE_CHECKING:
    from accident_reco.settings import Settings
    from serving.common.middleware import RouteLimits

CHECK_SECONDS: Final = 130.0
"""A check on request takes at most two minutes in the drift service."""
SHOWN: Final = 60
LISTED: Final = 12
LIGHTS: Final[Mapping[str, tuple[str, str]]] = {
    "stable": ("No drift", "good"),
    "warning": ("Changes below the threshold", "warn"),
    "drift": ("Drift", "bad"),
    "insufficient_data": ("Too little data", "none"),
}
"""Status of a verdict → its words and its tone."""
WINDOWS: Final[Mapping[str, str]] = {
    "log": "latest data",
    "now": "latest data, on request",
    "custom": "latest data, own threshold",
}
ACTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "train": ("trained", "good"),
    "suggest": ("suggested", "warn"),
    "wait": ("did not act", "none"),
}
"""Action of the retrain policy → its words and its tone."""

ModelName = Annotated[str, Path(max_length=40)]
ReportId = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
Chosen = Annotated[str | None, Query(pattern="^[0-9a-f]{32}$")]


def routers(console: Console) -> Sequence[APIRouter]:
    """The pages."""
    routes = page_router(console, "monitor")

    @routes.get("/drift")
    async def all_models(page: Page) -> Response:
        verdicts = await page.api.fetch("drift", "/monitoring/drift")
        return page.render("drift.html", verdicts=verdicts, lights=LIGHTS)

    @routes.get("/drift/{model}")
    async def drift(page: Page, model: ModelName, report: Chosen = None) -> Response:
        return await _show(page, model, report)

    @routes.post("/drift/{model}/check")
    async def check(page: Page, model: ModelName) -> Response:
        _require_model(page, model)
        form = {name: str(value).strip() for name, value in (await page.form_fields()).items()}
        query = {name: form[name] for name in ("threshold", "partition", "against") if form.get(name)}
        try:
            row = await _check(page, model, query)
        except ApiProblem as problem:
            return await _show(page, model, None, describe_api_problem(problem))
        light = LIGHTS.get(row["status"], (row["status"], ""))[0]
        return page.redirect(f"/drift/{segment(model)}?report={row['id']}", f"Judged now: {light}.")

    @routes.get("/drift/{model}/reports/{report_id}")
    async def html_report(page: Page, model: ModelName, report_id: ReportId) -> Response:
        """The HTML report as the drift service sends it, with the policy that sandboxes it."""
        path = f"/monitoring/drift/{segment(model)}/report"
        answer = await page.api.call("drift", "GET", path, query={"id": report_id})
        kept = ("content-type", "content-security-policy", "x-frame-options", "cache-control")
        return Response(answer.content, headers={name: answer.headers[name] for name in kept if name in answer.headers})

    @routes.get("/drift/{model}/reports/{report_id}/link")
    async def share(page: Page, model: ModelName, report_id: ReportId) -> Response:
        path = f"/monitoring/drift/{segment(model)}/report/link"
        link = await page.api.get("drift", path, id=report_id, minutes=60)
        return await _show(page, model, report_id, link=link)

    return [routes]


def _limits(settings: Settings) -> Mapping[str, RouteLimits]:
    from serving.common.middleware import RouteLimits

    limits = RouteLimits(settings.max_body_bytes, CHECK_SECONDS, settings.body_idle_seconds)
    return {f"/drift/{name}/check": limits for name in find_models(settings)}


SECTION: Final = Section(links=[NavLink("Drift", "/drift", "monitor")], routers=routers, limits=_limits)


def _require_model(page: Page, model: str) -> None:
    if model not in page.console.models:
        raise Problem(404, f"There is no model {model}.", kind="no-such-model")


async def _check(page: Page, model: str, query: Mapping[str, str]) -> Any:
    path, timeout = f"/monitoring/drift/{segment(model)}", httpx.Timeout(CHECK_SECONDS, connect=3.0)
    async with page.api.stream("drift", "POST", path, query=query, timeout=timeout) as answer:
        return orjson.loads(await answer.aread())


async def _show(
    page: Page,
    model: str,
    report_id: str | None,
    problem: ProblemPage | None = None,
    link: Mapping[str, Any] | None = None,
) -> Response:
    _require_model(page, model)
    base = f"/monitoring/drift/{segment(model)}"
    history = await page.api.fetch("drift", f"{base}/history", limit=SHOWN)
    report = await page.api.fetch("drift", f"{base}/reports/{report_id}" if report_id else base)
    is_missing = report.problem is not None and report.problem.kind == "no-report"
    found = report.value
    return page.render(
        "drift_model.html",
        problem.status if problem else 404 if is_missing and report_id else 200,
        model=page.console.models[model],
        history=history,
        line=build_timeline(history.value["reports"]) if history.value else None,
        report=report,
        is_missing=is_missing,
        chosen=report_id,
        features=[build_feature(one) for one in sort_features(found["features"])] if found else [],
        prediction=build_feature(found["prediction"], plots.LARGE) if found and found["prediction"] else None,
        label=build_feature(found["label"], plots.LARGE) if found and found["label"] else None,
        problem=problem,
        link=link,
        lights=LIGHTS,
        windows=WINDOWS,
        actions=ACTIONS,
        listed=LISTED,
        describe_window=describe_window,
    )


def describe_window(name: str) -> str:
    """What a report compared, in words."""
    partition = name.removeprefix("partition:")
    return f"data of {partition}" if partition != name else WINDOWS.get(name, name)


def build_timeline(reports: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Names and tones of the cells, oldest first, of reports that are newest first; partitions are no part of it."""
    live = [one for one in reversed(reports) if not one["window"].startswith("partition:")]
    return {
        "names": [f"{one['computed_at'][:16].replace('T', ' ')} UTC: {one['reason']}" for one in live],
        "tones": [LIGHTS.get(one["status"], ("", "none"))[1] for one in live],
        "ids": [one["id"] for one in live],
    }


def sort_features(features: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Drifted ones first, then those whose missing rate changed; within each the largest distance first."""

    def weight(feature: Mapping[str, Any]) -> tuple[bool, bool, float]:
        return bool(feature["drifted"]), bool(feature["missing_drifted"]), feature["distance"] or 0.0

    return sorted(features, key=weight, reverse=True)


def build_feature(feature: Mapping[str, Any], size: tuple[float, float] = plots.SMALL) -> dict[str, Any]:
    """A feature with its drawing, the largest changes of its categories in words, and its verdict as a badge."""
    shares, title = feature.get("distribution"), feature.get("title") or feature["name"]
    tone = "bad" if feature["drifted"] else "warn" if feature["missing_drifted"] else "none"
    words = "drifted" if feature["drifted"] else "missing rate changed" if feature["missing_drifted"] else "stable"
    drawing = ""
    if shares:
        drawing = plots.distributions(
            f"{title}: reference and window",
            shares["reference"],
            shares["window"],
            size=size,
            tone="bad" if feature["drifted"] else "tone-1",
        )
    return {
        **feature,
        "title": title,
        "drawing": drawing,
        "changes": find_changes(shares),
        "ends": (shares["edges"][0], shares["edges"][-1]) if shares and "edges" in shares else None,
        "tone": tone if feature["drifted"] is not None else "none",
        "verdict": words if feature["drifted"] is not None else "too little data",
    }


def find_changes(shares: Mapping[str, Any] | None, count: int = 2) -> list[tuple[str, float, float]]:
    """Categories whose share changed most, at least by a hundredth: name, share at training, share in the window."""
    if not shares or "values" not in shares:
        return []
    names = shares.get("names") or [str(value) for value in shares["values"]]
    rows = list(zip(names, shares["reference"], shares["window"], strict=True))
    rows.sort(key=lambda row: -abs(row[2] - row[1]))
    return [row for row in rows[:count] if abs(row[2] - row[1]) >= 0.01]
