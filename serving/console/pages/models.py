"""Models: champions, versions with their evidence, trainings and rollbacks with their progress, rollouts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from starlette.responses import Response

from serving.common.problems import Problem
from serving.console import plots
from serving.console.api import ApiProblem, Fetched, segment
from serving.console.charts import Line, Point
from serving.console.context import Console
from serving.console.markdown import render_markdown
from serving.console.page import Page, page_router
from serving.console.pages.overview import build_history
from serving.console.problem_pages import ProblemPage, describe_api_problem
from serving.console.sections import NavLink, Section

STATES: Final[Mapping[str, tuple[str, str, str]]] = {
    "queued": ("waiting", "warn", "Dagster's sensor starts it within seconds."),
    "running": ("running", "warn", "The run trains the candidates, then the gate decides."),
    "promoted": ("promoted", "good", "The new version serves."),
    "refused": ("rejected", "none", "The gate kept the champion; its reason is above."),
    "failed": ("failed", "bad", "Open the run in Dagster, then train again."),
    "held": ("not started", "none", "Train again once data, code or settings have changed."),
    "done": ("done", "good", "Nothing more is to do."),
}
"""State of a request → its words, its tone, what follows."""
OPEN: Final = ("queued", "running")
ACTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "promote": ("promoted", "good"),
    "refuse": ("rejected", "none"),
    "rollback": ("rolled back", "warn"),
}

ModelName = Annotated[str, Path(max_length=40)]
Version = Annotated[str, Path(pattern="^[0-9a-f]{16}$")]
RequestId = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]


def routers(console: Console) -> Sequence[APIRouter]:
    """The pages."""
    routes = page_router(console, "predict")

    @routes.get("/models")
    async def all_models(page: Page) -> Response:
        names = list(page.console.models)
        found = await asyncio.gather(*(page.api.fetch("predict", f"/models/{segment(name)}") for name in names))
        cards = [
            {
                "model": page.console.models[name],
                "details": one,
                "history": build_history(page.console.models[name], one.value),
            }
            for name, one in zip(names, found, strict=True)
        ]
        return page.render("models.html", cards=cards)

    @routes.get("/models/{model}")
    async def model_page(page: Page, model: ModelName) -> Response:
        return await _show(page, model)

    @routes.get("/models/{model}/versions/{version}")
    async def version_page(page: Page, model: ModelName, version: Version) -> Response:
        _require_model(page, model)
        found = await page.api.get("predict", f"/models/{segment(model)}/versions/{version}")
        evaluation = found["evaluation"] or {}
        return page.render(
            "version.html",
            model=page.console.models[model],
            found=found,
            evaluation=evaluation,
            gains=build_gains(found["gate"]),
            calibration=plots.calibration("Observed rate over mean prediction", evaluation.get("calibration") or []),
            card=render_markdown(found["card"]) if found["card"] else "",
        )

    @routes.get("/models/{model}/requests/{request_id}")
    async def progress(page: Page, model: ModelName, request_id: RequestId) -> Response:
        _require_model(page, model)
        page.require("train")
        found = await page.api.get("predict", f"/training/requests/{request_id}")
        shown = {
            "model": page.console.models[model],
            "found": found,
            "states": STATES,
            "is_open": found["status"] in OPEN,
        }
        return page.render("request_part.html" if page.is_htmx else "request.html", **shown)

    @routes.post("/models/{model}/train")
    async def train(page: Page, model: ModelName) -> Response:
        _require_model(page, model)
        reason = str((await page.form_fields()).get("reason", "")).strip()
        try:
            row = await page.api.post("predict", f"/training/{segment(model)}", reason=reason or None)
        except ApiProblem as problem:
            return await _show(page, model, describe_api_problem(problem))
        notice = "Training requested." if row["new"] else "A training was waiting already; you follow that one."
        return page.redirect(f"/models/{segment(model)}/requests/{row['id']}", notice)

    @routes.post("/models/{model}/rollback")
    async def roll_back(page: Page, model: ModelName) -> Response:
        _require_model(page, model)
        form = {name: str(value).strip() for name, value in (await page.form_fields()).items()}
        if form.get("confirmed") != "yes":
            raise Problem(422, "Nothing was changed: confirm that the version shall serve.", kind="invalid-request")
        body = {"version": form.get("version") or None, "reason": form.get("reason", "")}
        return await _decide(page, model, "rollback", body)

    @routes.post("/models/{model}/rollout/{action}")
    async def decide_rollout(page: Page, model: ModelName, action: str) -> Response:
        _require_model(page, model)
        if action not in ("advance", "abort"):
            raise Problem(404, "A rollout is advanced or aborted.", kind="no-such-action")
        form = {name: str(value).strip() for name, value in (await page.form_fields()).items()}
        if form.get("confirmed") != "yes":
            raise Problem(422, "Nothing was changed: confirm the decision.", kind="invalid-request")
        return await _decide(page, model, f"rollout/{action}", {"reason": form.get("reason", "")})

    return [routes]


MAX_EVALUATIONS: Final = 60
"""Evaluations of a rollout that are drawn."""
PARTS: Final = {"champion": "tone-2", "challenger": "tone-1"}
"""Version's part in a rollout → class of its line."""

SECTION: Final = Section(links=[NavLink("Models", "/models", "predict")], routers=routers)


def _require_model(page: Page, model: str) -> None:
    if model not in page.console.models:
        raise Problem(404, f"There is no model {model}.", kind="no-such-model")


async def _decide(page: Page, model: str, action: str, body: Mapping[str, Any]) -> Response:
    try:
        row = await page.api.post("predict", f"/models/{segment(model)}/{action}", body)
    except ApiProblem as problem:
        return await _show(page, model, describe_api_problem(problem))
    if action == "rollback":
        state, outcome = row["status"], row["outcome"] or "the store is away; a sensor completes it"
        notice = f"Rollback {state}: {outcome}."
    else:
        notice = f"Rollout: {row['state']}, {row['share']:.0%} of the traffic."
    return page.redirect(f"/models/{segment(model)}", notice)


async def _show(page: Page, model: str, problem: ProblemPage | None = None) -> Response:
    _require_model(page, model)
    known, base = page.console.models[model], f"/models/{segment(model)}"
    details = await page.api.fetch("predict", base)
    decisions = await page.api.fetch("predict", f"{base}/decisions", limit=20)
    rollout = await page.api.fetch("predict", f"{base}/rollout")
    if rollout.problem and rollout.problem.status == 404:
        rollout = Fetched()  # no rollout, or a predict service without them
    requests = None
    if page.may("train"):
        requests = await page.api.fetch("predict", "/training/requests", model=model, limit=10)
    shown = details.value or {}
    return page.render(
        "model_page.html",
        problem.status if problem else 200,
        model=known,
        details=details,
        history=build_history(known, details.value),
        decisions=decisions,
        gains=[build_gains(row)[:1] for row in decisions.value or ()],
        rollout=rollout,
        evidence=build_evidence(rollout.value),
        parts=PARTS,
        next_share=find_next_share(rollout.value),
        requests=requests,
        older=[(one["version"], describe_version(one)) for one in shown.get("versions", ()) if not one["champion"]],
        problem=problem,
        states=STATES,
        actions=ACTIONS,
    )


def describe_version(version: Mapping[str, Any]) -> str:
    """A version in a list to choose from."""
    return f"{version['version'][:8]} of {version['created_at'][:16].replace('T', ' ')}"


def build_gains(gate: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Gains of a decision with their intervals and thresholds: that of the deciding metric first, then others, slices.

    Empty for a first version, which was compared with none.
    """
    detail = (gate or {}).get("detail") or {}
    comparison, policy = detail.get("comparison") or {}, detail.get("policy") or {}
    if not comparison.get("gain"):
        return []
    tolerance = -float(policy.get("slice_tolerance") or 0.0)
    least = int(policy.get("slice_rows") or 0)
    rows = [(str(policy.get("metric", "metric")), comparison["gain"], float(policy.get("minimum_gain") or 0.0), None)]
    rows += [(name, gain, 0.0, None) for name, gain in (comparison.get("others") or {}).items()]
    rows += [(one["name"], one["gain"], tolerance, one["rows"]) for one in comparison.get("slices") or ()]
    gains = []
    for place, (name, gain, threshold, count) in enumerate(rows):
        if None in (gain.get("value"), gain.get("low"), gain.get("high")):
            continue
        passes = gain["value"] >= threshold and gain["low"] > 0 if place == 0 else gain["high"] >= threshold
        counts = count is None or count >= least
        tone = "none" if not counts else "good" if passes else "bad"
        gains.append({"name": name, **gain, "threshold": threshold, "rows": count, "tone": tone, "counts": counts})
    return gains


def find_next_share(rollout: Mapping[str, Any] | None) -> float | None:
    """Share of the traffic at the next step of a rollout; None where that is the promotion."""
    return next((step for step in (rollout or {}).get("steps", ()) if step > (rollout or {})["share"]), None)


def build_evidence(rollout: Mapping[str, Any] | None) -> dict[str, list[Line]]:
    """Curves of a rollout, thinned to `MAX_EVALUATIONS`; an empty list where nothing is known yet.

    `losses`: mean loss of both versions with their intervals. `difference`: that of the challenger to the champion in
    percent of the loss, with its bounds.
    """
    curve = list((rollout or {}).get("curve", ()))
    step = -(-len(curve) // MAX_EVALUATIONS) or 1
    curve = curve[::-1][::step][::-1]  # the newest one stays
    names = [str(one["at"])[:16].replace("T", " ") for one in curve]
    losses = [
        Line(part, [Point(name, *_get_loss(one, part)) for name, one in zip(names, curve, strict=True)], tone)
        for part, tone in PARTS.items()
    ]
    difference = [Point(name, *_get_difference(one)) for name, one in zip(names, curve, strict=True)]
    found = {"losses": losses, "difference": [Line("difference", difference)]}
    return {
        name: lines if any(point.value is not None for line in lines for point in line.points) else []
        for name, lines in found.items()
    }


def _get_difference(evaluation: Mapping[str, Any]) -> tuple[float | None, float | None, float | None]:
    """Difference of the losses in per cent, and its bounds."""
    value, low, high = (evaluation.get(key) for key in ("difference", "low", "high"))
    return _to_percent(value), _to_percent(low), _to_percent(high)


def _to_percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _get_loss(evaluation: Mapping[str, Any], part: str) -> tuple[float | None, float | None, float | None]:
    """Mean loss of a version and its interval; without them in evaluations of older releases, and without labels."""
    if not evaluation.get("labels"):
        return None, None, None
    value, low, high = (evaluation.get("losses") or {}).get(part, (None, None, None))
    return value, low, high
