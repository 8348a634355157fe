"""Response schemas of the drift service, and their construction from rows of the warehouse."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from accident_reco.contract import ColumnText


class Report(BaseModel):
    """A drift report without its table."""

    id: str = Field(description="Report id, for `report?id=` while the HTML report is kept")
    model: str
    version: str = Field(description="Champion whose reference profile is the baseline")
    data_source: str = Field(description="Source of that champion's training data")
    window: str = Field(
        description="log, now (requested through the API), custom (with a threshold of its own) or partition:<year>"
    )
    since: datetime | None = Field(description="Oldest row of the window (UTC)")
    until: datetime | None = Field(description="Newest row of the window (UTC)")
    status: str = Field(description="stable, warning, drift or insufficient_data")
    reason: str
    rows: int
    groups: int | None = Field(description="Groups of dependent rows in the window")
    judged: int = Field(description="Features with enough data for a verdict")
    drifted: int
    drifted_share: float
    prediction_distance: float | None = Field(description="KS distance between the scores and those at training")
    page: bool = Field(description="Whether an HTML report is kept")
    page_problem: str | None = Field(description="Why the HTML report could not be written; the next check retries")
    run_id: str | None = Field(description="Run in Dagster; null where the service computed it")
    computed_at: datetime


class FullReport(Report):
    """A drift report with all its figures."""

    features: list[dict[str, Any]] = Field(
        description="Per feature: title, test, distance, PSI, p-values, importance, verdict, reason, and the "
        "`distribution`: shares in reference and window by `edges`, or by `values` with `names`; null in older reports"
    )
    prediction: dict[str, Any] | None = Field(description="The same for the model's scores")
    label: dict[str, Any] | None = Field(description="The same for reported labels")
    drifted_importance: float | None = Field(description="Share of the model's importance in drifted features")
    thresholds: dict[str, Any]
    previous_window: dict[str, Any] | None = Field(description="Verdict against the previous window")
    performance: dict[str, Any] = Field(description="Metrics on live labels with 95 % CI, and whether they dropped")


class ReportLink(BaseModel):
    """A link to an HTML report."""

    id: str = Field(description="Report id")
    url: str = Field(description="Opens in a browser without a token, for whoever has it")
    expires_at: datetime = Field(description="Time at which it expires (UTC)")


class ModelVerdict(BaseModel):
    """The verdict on one model."""

    status: str | None = Field(description="Verdict of the report; null where there is none")
    reason: str = Field(description="Reason of the verdict, or why there is none")
    report: FullReport | None


class Verdicts(BaseModel):
    """The verdicts on all models."""

    drifted: list[str] = Field(description="Models whose verdict is drift")
    models: dict[str, ModelVerdict]


class History(BaseModel):
    """Reports and decisions of the retrain policy, newest first."""

    model: str
    reports: list[Report]
    decisions: list[dict[str, Any]] = Field(description="Decisions of the retrain policy with their reasons")
    partitions: list[int] = Field(description="Stored partitions, such as years, that can be checked; [] where none")


class AlertsResponse(BaseModel):
    """Number of alerts of a notification by outcome."""

    queued: int = Field(description="Alerts that created a training request")
    joined: int = Field(description="Alerts for which a request was open")
    replayed: int = Field(description="Alerts that were received before and need no new request")
    resolved: int = Field(description="Resolved alerts; they never create a request")
    ignored: int = Field(description="Alerts whose labels name no model of this installation")
    requests: list[str] = Field(description="Ids of the training requests")


def build_report(row: dict[str, Any]) -> dict[str, Any]:
    """Fields of `Report` from a row of the warehouse."""
    fields = {name: row[name] for name in Report.model_fields if name in row}
    return fields | {
        "window": row["window_name"],
        "page": row["report_key"] is not None,
        "page_problem": row["document"].get("page_problem"),
    }


def build_full_report(row: dict[str, Any], texts: Mapping[str, ColumnText]) -> dict[str, Any]:
    """Fields of `FullReport` from a row of the warehouse, columns and codes by name."""
    parts = (
        "features",
        "prediction",
        "label",
        "drifted_importance",
        "thresholds",
        "previous_window",
        "performance",
    )
    found = {name: row["document"].get(name) for name in parts}
    features = [_name_feature(feature, texts.get(feature["name"])) for feature in found["features"] or ()]
    return build_report(row) | found | {"features": features}


def _name_feature(feature: Mapping[str, Any], text: ColumnText | None) -> dict[str, Any]:
    distribution = feature.get("distribution")
    if distribution and "values" in distribution:
        known = text.values if text else {}
        names = ["all others" if value is None else known.get(value, str(value)) for value in distribution["values"]]
        distribution = {**distribution, "names": names}
    return {**feature, "title": text.title if text else feature["name"], "distribution": distribution}
