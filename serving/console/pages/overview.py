"""The platform at a glance: champions with their history, drift, live performance, requests, runs, health."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx
from fastapi import APIRouter
from starlette.responses import Response

from accident_reco.contract import Model
from serving.console.api import Fetched
from serving.console.charts import Line, Point
from serving.console.context import Console
from serving.console.page import Page, page_router
from serving.console.sections import NavLink, Section

HEALTH_SECONDS: Final = 3.0
SHOWN_RUNS: Final = 12
SHOWN_REQUESTS: Final = 20
LIGHTS: Final[Mapping[str, tuple[str, str]]] = {
    "stable": ("no drift", "good"),
    "warning": ("warning", "warn"),
    "drift": ("drift", "bad"),
    "insufficient_data": ("too little data", "none"),
}
"""Verdict → words and tone."""
OUTCOMES: Final[Mapping[str, str]] = {
    "promote": "good",
    "rollback": "warn",
    "failed": "bad",
    **{verdict: tone for verdict, (_, tone) in LIGHTS.items()},
}
"""Outcome of a run → tone; others have none."""


@dataclass(frozen=True)
class Health:
    """Whether a service can do its work, and why not."""

    name: str
    is_ready: bool
    detail: str


@dataclass(frozen=True)
class Champion:
    """A model on the page.

    Args:
        details: as `GET /models/{model}` returns it, or its problem.
        verdict: as `GET /monitoring/drift` returns it for the model; None where it was not fetched.
        history: the headline metric over versions, oldest first.
    """

    model: Model
    details: Fetched
    verdict: Mapping[str, Any] | None
    history: Line


def routers(console: Console) -> Sequence[APIRouter]:
    """The page."""
    routes = page_router(console)

    @routes.get("/")
    async def overview(page: Page) -> Response:
        names = list(console.models)
        may_monitor, may_train = page.may("monitor"), page.may("train")
        (verdicts, runs, stats, requests), health, details = await asyncio.gather(
            asyncio.gather(
                _fetch_if(may_monitor, page, "drift", "/monitoring/drift"),
                _fetch_if(may_monitor, page, "predict", "/runs", limit=SHOWN_RUNS),
                _fetch_if(may_monitor, page, "predict", "/stats"),
                _fetch_open_requests(page) if may_train else _nothing(),
            ),
            asyncio.gather(*(check_health(console, service) for service in console.clients)),
            asyncio.gather(*(page.api.fetch("predict", f"/models/{name}") for name in names)),
        )
        by_model = verdicts.value["models"] if verdicts and verdicts.value else {}
        champions = [
            Champion(console.models[name], found, by_model.get(name), build_history(console.models[name], found.value))
            for name, found in zip(names, details, strict=True)
        ]
        return page.render(
            "overview.html",
            champions=champions,
            verdicts=verdicts,
            runs=runs,
            stats=stats,
            requests=requests,
            health=health,
            lights=LIGHTS,
            outcomes=OUTCOMES,
        )

    return [routes]


async def _nothing() -> None:
    return None


async def _fetch_if(allowed: bool, page: Page, service: str, path: str, **query: Any) -> Fetched | None:
    return await page.api.fetch(service, path, **query) if allowed else None


async def _fetch_open_requests(page: Page) -> Fetched:
    found = await asyncio.gather(
        *(
            page.api.fetch("predict", "/training/requests", status=status, limit=SHOWN_REQUESTS)
            for status in ("running", "queued")
        )
    )
    failed = next((each for each in found if each.problem), None)
    return failed or Fetched([request for each in found for request in each.value])


async def check_health(console: Console, service: str) -> Health:
    """What a service reports about itself, without a token."""
    try:
        answer = await console.clients[service].get("/readyz", timeout=HEALTH_SECONDS)
        body = answer.json()
    except (httpx.HTTPError, ValueError):
        return Health(service, is_ready=False, detail="it does not answer")
    return Health(service, answer.status_code == 200, "" if answer.status_code == 200 else describe_readiness(body))


def describe_readiness(body: Mapping[str, Any]) -> str:
    """Why a service is not ready, from its `/readyz`: its problem, and those of its models."""
    found = [str(body["problem"])] if body.get("problem") else []
    for name, model in (body.get("models") or {}).items():
        if isinstance(model, Mapping) and not model.get("version"):
            found.append(f"{name}: {model.get('problem') or 'no version serves'}")
    return "; ".join(found) or str(body.get("status", "not ready"))


def build_history(model: Model, details: Mapping[str, Any] | None) -> Line:
    """The deciding metric of a model's versions, oldest first, the champion marked.

    The interval is that of the gain over the champion of its time, as the gate measured it, around the version's value.
    """
    points = []
    for version in reversed((details or {}).get("versions", ())):
        value = version["metrics"].get(model.task.metric)
        gain = ((version.get("gate") or {}).get("detail") or {}).get("comparison", {}).get("gain", {})
        low = high = None
        if isinstance(value, int | float) and None not in (gain.get("value"), gain.get("low"), gain.get("high")):
            below, above = gain["value"] - gain["low"], gain["high"] - gain["value"]
            if not model.task.higher_is_better:  # a gain is a lower value
                below, above = above, below
            low, high = value - below, value + above
        points.append(
            Point(f"{version['created_at'][:10]} {version['version'][:8]}", value, low, high, version["champion"])
        )
    return Line(model.task.metric, points)


SECTION = Section(links=[NavLink("Overview", "/")], routers=routers, is_first=True)
