"""Drift report of a model: an asset on a schedule and on demand, with verdict, table and plot in its metadata."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from accident_reco.contract import Model
from accident_reco.defs.freshness import follow_schedule
from accident_reco.defs.links import describe_object, link_report
from accident_reco.defs.resources import Platform
from accident_reco.defs.tags import REASON_TAG
from accident_reco.drift.alert_secret import find_alert_secret
from accident_reco.drift.check import DriftReport
from accident_reco.drift.plot import distance_plot
from accident_reco.drift.report_links import build_link
from accident_reco.drift.run_check import CheckRequest, NothingToCompare, run_check
from accident_reco.drift.verdict import FeatureVerdict
from accident_reco.settings import Settings

GROUP = "drift"
NO_DRIFT = "no_drift"


class DriftConfig(dg.Config):
    """What to compare: the latest window by default, a stored partition, or one partition with another."""

    partition: int | None = None
    against: int | None = None


def report_key(model: str) -> dg.AssetKey:
    """Key of a model's drift report."""
    return dg.AssetKey([model, "drift_report"])


def report_job(model: str) -> str:
    """Name of the job that materializes a model's drift report."""
    return f"report_{model}_drift"


def _report_asset(model: Model, settings: Settings) -> dg.AssetsDefinition:
    @dg.asset(
        key=report_key(model.name),
        deps=[dg.AssetKey([model.name, "production_model"])],
        group_name=GROUP,
        kinds={"scipy", "evidently"},
        code_version="1",
        description=model.drift_question,
        freshness_policy=follow_schedule(settings.drift_schedule),
        check_specs=[
            dg.AssetCheckSpec(
                NO_DRIFT,
                asset=report_key(model.name),
                description="The window of this report has enough data and has not drifted.",
            )
        ],
    )
    def drift_report(
        context: dg.AssetExecutionContext, config: DriftConfig, platform: Platform
    ) -> dg.MaterializeResult:
        """Compare the window with the reference, store the report and show it."""
        question = CheckRequest(config.partition, config.against)
        try:
            report = run_check(model, platform, question, context.run.run_id)
        except NothingToCompare as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        context.log.info("%s: %s", report.row["status"], report.row["reason"])
        if problem := report.row["document"]["page_problem"]:
            context.log.warning("%s", problem)
        settings = platform.settings
        links = link_report(settings, model.name, report.id) | _link(report, model.name, settings)
        if key := report.row["report_key"]:
            links |= describe_object(settings, key)
        metadata = _metadata(report) | links
        return dg.MaterializeResult(metadata=metadata, check_results=[_no_drift(report)])

    return drift_report


def _metadata(report: DriftReport) -> dict[str, Any]:
    row, verdict = report.row, report.verdict
    picture = base64.b64encode(distance_plot(verdict)).decode()
    return {
        "verdict": row["status"],
        "reason": row["reason"],
        "report_id": report.id,
        "window": row["window_name"],
        "compared": row["document"]["note"] or "with the champion's reference",
        "drifted_share": row["drifted_share"],
        **({} if verdict.drifted_importance is None else {"drifted_importance": verdict.drifted_importance}),
        "dagster/row_count": row["rows"],
        "version": row["version"],
        "data_source": row["data_source"],
        "live_performance": report.performance.reason,
        "against_window_before": report.previous.reason if report.previous else "no previous window",
        "features": dg.MetadataValue.md(_table(verdict.features)),
        "distances": dg.MetadataValue.md(f"![distances](data:image/png;base64,{picture})"),
        "page": row["report_key"] or row["document"]["page_problem"],
    }


def _link(report: DriftReport, model: str, settings: Settings) -> dict[str, Any]:
    """The HTML report as a link for browsers; empty where it is not stored, or where this process cannot sign."""
    secret = find_alert_secret(settings)
    if secret is None or not report.row["report_key"]:
        return {}
    expires_at = datetime.now(UTC) + timedelta(hours=settings.drift_link_hours)
    url = build_link(settings.drift_url, secret, model, report.id, expires_at)
    return {"html_report": dg.MetadataValue.url(url), "html_report_until": dg.MetadataValue.timestamp(expires_at)}


def _table(features: tuple[FeatureVerdict, ...]) -> str:
    words = {True: "**drifted**", False: "unchanged", None: "insufficient data"}
    lines = [
        "| feature | test | distance | PSI | adjusted p | importance | change | verdict |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for feature in sorted(features, key=lambda feature: (not feature.drifted, -feature.comparison.distance)):
        found = feature.comparison
        importance = "" if feature.importance is None else f"{feature.importance:.1%}"
        change = found.change.replace("|", "/").replace("<", "‹")
        lines.append(
            f"| {found.name} | {found.test} | {found.distance:.3f} | {found.psi:.3f} | {feature.p_adjusted:.2g} "
            f"| {importance} | {change} | {words[feature.drifted]} |"
        )
    return "\n".join(lines)


def _no_drift(report: DriftReport) -> dg.AssetCheckResult:
    """The check of the run's own report. Drift or insufficient data only warns: the retrain policy decides."""
    row = report.row
    return dg.AssetCheckResult(
        check_name=NO_DRIFT,
        passed=row["status"] in ("stable", "warning"),
        severity=dg.AssetCheckSeverity.WARN,
        description=row["reason"],
        metadata={"report_id": row["id"], "drifted_share": row["drifted_share"], "verdict": row["status"]},
    )


def drift_definitions(model: Model, settings: Settings) -> dg.Definitions:
    """Asset with its check, job and schedule of a model's drift report."""
    job = dg.define_asset_job(
        report_job(model.name),
        selection=dg.AssetSelection.assets(report_key(model.name)),
        executor_def=dg.in_process_executor,  # one step: a process of its own would only load everything twice
        description=f"Compare the latest window of {model.name} with its champion's reference.",
    )
    schedule = dg.ScheduleDefinition(
        name=f"{model.name}_drift_schedule",
        job=job,
        cron_schedule=settings.drift_schedule,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        tags={REASON_TAG: f"drift is checked at {settings.drift_schedule}"},
        description="ACCIDENT_RECO_DRIFT_SCHEDULE",
    )
    return dg.Definitions(
        assets=[_report_asset(model, settings)],
        jobs=[job],
        schedules=[schedule],
    )
