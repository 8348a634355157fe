"""What the drift service answers, for `/docs` and for whoever reads the code."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field


class Report(BaseModel):
    """A drift report without its table."""

    id: str = Field(description="Report id; `report?id=` draws it while its page is kept")
    model: str
    version: str = Field(description="Champion whose reference profile was compared with")
    data_source: str = Field(description="Where that champion's data came from")
    window: str = Field(description="log, now (asked for through the API) or partition:<year>")
    since: datetime | None = Field(description="UTC, oldest row of the window")
    until: datetime | None = Field(description="UTC, newest row of the window")
    status: str = Field(description="stable, warning, drift or insufficient_data")
    reason: str
    rows: int
    groups: int | None = Field(description="Groups of dependent rows in the window, such as users")
    judged: int = Field(description="Features with enough data to judge")
    drifted: int
    drifted_share: float
    prediction_distance: float | None = Field(description="KS distance of the scores from those at training")
    page: bool = Field(description="Whether there is an HTML report: it was written and is still kept")
    page_problem: str | None = Field(description="Why the HTML report could not be written; the next check tries again")
    computed_at: datetime


class FullReport(Report):
    """A drift report with everything that was measured."""

    features: list[dict[str, Any]] = Field(description="Per feature: test, distance, PSI, p-values, verdict, reason")
    prediction: dict[str, Any] | None = Field(description="The same for the model's scores")
    label: dict[str, Any] | None = Field(description="The same for labels that came in")
    thresholds: dict[str, Any]
    previous_window: dict[str, Any] | None = Field(description="Verdict against the window before")
    performance: dict[str, Any] = Field(description="Metrics on live labels with 95 % bounds, and whether they dropped")


class History(BaseModel):
    """Reports and what the retrain policy made of them, newest first."""

    model: str
    reports: list[Report]
    decisions: list[dict[str, Any]] = Field(description="Decisions of the retrain policy with their reasons")


class AlertsAnswer(BaseModel):
    """What became of each alert of a notification."""

    queued: int = Field(description="Alerts that made a training request")
    joined: int = Field(description="Alerts for which one was open already")
    replayed: int = Field(description="Alerts that had come before and ask for nothing new")
    resolved: int = Field(description="Resolved alerts; they never ask for anything")
    ignored: int = Field(description="Alerts without a model of ours in their labels")
    requests: list[str] = Field(description="Ids of the training requests")


def summary(row: dict[str, Any]) -> dict[str, Any]:
    """A report's row as `Report`."""
    fields = {name: row[name] for name in Report.model_fields if name in row}
    return fields | {
        "window": row["window_name"],
        "page": row["report_key"] is not None,
        "page_problem": row["document"].get("page_problem"),
    }


def full(row: dict[str, Any]) -> dict[str, Any]:
    """A report's row as `FullReport`."""
    parts = ("features", "prediction", "label", "thresholds", "previous_window", "performance")
    return summary(row) | {name: row["document"].get(name) for name in parts}
