"""Problems as people read them: what happened, why, and the next step. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException

from serving.common.problems import Problem
from serving.console.api import ApiProblem


@dataclass(frozen=True)
class ProblemPage:
    """A problem for people.

    Args:
        next_step: what to do about it, in one sentence.
        errors: errors in the input: pointer → the violated rule.
        kind: last part of the problem's type; empty where there is none.
    """

    status: int
    title: str
    detail: str
    next_step: str
    errors: Mapping[str, str]
    request_id: str = ""
    kind: str = ""


NEXT_STEPS: Final[Mapping[str, str]] = {
    "no-champion": "Once a version is promoted it serves within a second. Start a training on the page Models, or by "
    "`make pipeline`; the overview shows how far it is.",
    "unreachable": "Reload this page. `accident-reco status` lists the services, `accident-reco doctor` says why one "
    "is down.",
    "store-down": "Reload this page in a moment; the champion serves on meanwhile.",
    "warehouse-unavailable": "Reload this page in a moment.",
    "rate-limited": "Wait a second, then reload this page.",
    "missing-scope": "Ask an admin for the right, or log in with another account.",
    "stale-form": "Go back, reload the page, and send the form again.",
    "foreign-request": "Open the page in this console and send the form there.",
    "no-report": "Let the drift service check the latest data now on the page Drift.",
    "nothing-to-compare": "Train a version on the page Models: it brings the profile that data is compared with.",
    "nothing-to-roll-back-to": "Train another version on the page Models; this one serves until then.",
    "no-rollout": "Start a rollout by a training; the documentation page “Roll out” says how.",
    "invalid-request": "Go back and correct what is listed.",
    "internal": "Reload this page. If it happens again, report it with the request id.",
}
"""Kind of a problem → next step."""
_BY_STATUS: Final[Mapping[int, str]] = {
    403: NEXT_STEPS["missing-scope"],
    404: "Go to the overview, or choose a page above.",
    409: "Reload the page: its state has changed.",
    413: "Send less at once.",
    422: NEXT_STEPS["invalid-request"],
    429: NEXT_STEPS["rate-limited"],
    503: "Reload this page in a moment.",
}


def find_next_step(status: int, kind: str) -> str:
    """The next step after a problem."""
    return NEXT_STEPS.get(kind) or _BY_STATUS.get(status) or NEXT_STEPS["internal"]


def describe_api_problem(problem: ApiProblem) -> ProblemPage:
    """An error response of a service."""
    errors = {str(error.get("pointer", "")): str(error.get("detail", "")) for error in problem.errors}
    return ProblemPage(
        problem.status,
        problem.title,
        problem.detail,
        find_next_step(problem.status, problem.kind),
        errors,
        problem.request_id,
        problem.kind,
    )


def describe_http_problem(error: HTTPException) -> ProblemPage:
    """An error of the console itself."""
    kind = (error.kind or "") if isinstance(error, Problem) else ""
    phrase = HTTPStatus(error.status_code).phrase
    title = {403: "Not allowed", 404: "There is no such page", 500: "This page failed"}.get(error.status_code, phrase)
    detail = "" if error.detail == phrase else error.detail
    return ProblemPage(error.status_code, title, detail, find_next_step(error.status_code, kind), {}, kind=kind)
