"""Drift reports as assets: their metadata, what is stored, how they fail."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import dagster as dg
import pytest

from accident_reco.drift.alert_secret import load_alert_secret
from accident_reco.drift.report_links import find_link_problem
from accident_reco.storage import drift_reports
from accident_reco_tests.support.drift_rows import build_report_row
from accident_reco_tests.support.small_loop import report, tick, traffic


def test_definitions_load(definitions) -> None:
    """Everything is loadable; schedules and sensors are enabled and described."""
    dg.Definitions.validate_loadable(definitions)
    sensors = {sensor.name: sensor for sensor in definitions.sensors}
    assert set(sensors) == {
        "drift_reports",
        "performance_reports",
        "new_data",
        "accidents_training_requests",
        "movies_training_requests",
        "failed_runs",
        "rollbacks",
        "rollbacks_elsewhere",
    }
    assert all(sensor.default_status == dg.DefaultSensorStatus.RUNNING for sensor in sensors.values())
    assert all(sensor.description for sensor in sensors.values())
    for schedule in definitions.schedules:
        assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING


def test_report_shows_verdict_table_and_plot(definitions, instance, platform) -> None:
    """The asset's metadata, and what is stored: row and HTML report."""
    traffic(platform, shift=1)
    result = report(definitions, instance)
    assert result.success
    metadata = result.asset_materializations_for_node("accidents__drift_report")[0].metadata
    assert metadata["verdict"].value == "drift"
    assert "2 of 3 features drifted (67%)" in metadata["reason"].value
    assert "| catu | chi2 |" in metadata["features"].value
    assert "**drifted**" in metadata["features"].value
    assert metadata["distances"].value.startswith("![distances](data:image/png;base64,")
    row = drift_reports.latest_report(platform.warehouse, "accidents")
    assert row is not None
    assert row["id"] == metadata["report_id"].value
    page = platform.objects.read(row["report_key"])
    assert b'<section class="verdict red">' in page


def test_report_links_to_its_html(definitions, instance, platform) -> None:
    """A signed link that the drift service accepts; without the service's secret there is none."""
    traffic(platform, shift=0)

    def read_metadata() -> dict[str, Any]:
        result = report(definitions, instance)
        return dict(result.asset_materializations_for_node("accidents__drift_report")[0].metadata)

    assert "html_report" not in read_metadata()
    secret = load_alert_secret(platform.settings)
    metadata = read_metadata()
    parts = urlsplit(metadata["html_report"].value)
    query = dict(parse_qsl(parts.query))
    assert query["id"] == metadata["report_id"].value
    assert find_link_problem(secret, "accidents", query, datetime.now(UTC)) is None
    assert metadata["html_report_until"].value == pytest.approx(int(query["expires"]), abs=1)


def test_the_check_judges_the_report_of_its_own_run(definitions, instance, platform) -> None:
    """Not the newest one on the log: a report on a stored year stood beside "0 rows", the verdict on an empty log."""
    traffic(platform, shift=0)
    later = datetime.now(UTC) + timedelta(hours=1)
    drift_reports.save_report(
        platform.warehouse,
        build_report_row(status="insufficient_data", reason="0 rows, at least 500 are needed", computed_at=later),
    )
    result = report(definitions, instance)
    (check,) = result.get_asset_check_evaluations()
    metadata = result.asset_materializations_for_node("accidents__drift_report")[0].metadata
    assert (check.check_name, check.passed, check.blocking) == ("no_drift", True, False)
    assert check.description == metadata["reason"].value
    assert check.metadata["report_id"] == metadata["report_id"]


def test_verdict_is_kept_if_the_html_cannot_be_written(definitions, instance, platform) -> None:
    """If only the HTML cannot be written, verdict and trigger are kept; the next check writes both reports."""
    traffic(platform, shift=1)
    obstacle = platform.settings.home / "store" / "reports"
    obstacle.write_bytes(b"")  # a file where the store needs a folder
    result = report(definitions, instance)
    assert result.success
    row = drift_reports.latest_report(platform.warehouse, "accidents")
    assert row is not None
    assert (row["status"], row["report_key"]) == ("drift", None)
    assert "could not be written" in row["document"]["page_problem"]
    metadata = result.asset_materializations_for_node("accidents__drift_report")[0].metadata
    assert metadata["page"].value == row["document"]["page_problem"]
    assert f"accidents report {row['id'][:8]}: wait" in tick(definitions, instance, "drift_reports").skip_message

    obstacle.unlink()
    traffic(platform, shift=1, seed=3)
    assert report(definitions, instance).success
    newest, first = drift_reports.reports(platform.warehouse, "accidents")
    assert first["id"] == row["id"]
    for kept in (newest, first):
        assert kept["document"]["page_problem"] is None
        assert b'<section class="verdict red">' in platform.objects.read(kept["report_key"])
    assert list((platform.settings.home / "pending").rglob("*.html")) == []


def test_old_html_is_deleted_and_figures_are_kept(definitions, instance, platform, monkeypatch) -> None:
    """HTML reports are megabytes: the newest are kept; of older ones the object is deleted and the row is kept."""
    monkeypatch.setenv("ACCIDENT_RECO_DRIFT_PAGES_KEPT", "1")
    for seed in (2, 3):
        traffic(platform, shift=0, seed=seed)
        assert report(definitions, instance).success
    newest, old = drift_reports.reports(platform.warehouse, "accidents")
    assert (old["report_key"], old["document"]["page_problem"]) == (None, None)
    assert platform.objects.list("reports/drift/accidents") == [newest["report_key"]]


def test_missing_champion_fails_with_one_sentence(definitions, instance, platform) -> None:
    """Movies have no champion here: the run fails with the reason."""
    asset = definitions.get_assets_def(dg.AssetKey(["movies", "drift_report"]))
    result = dg.materialize([asset], instance=instance, resources=definitions.resources, raise_on_error=False)
    assert not result.success
    (failure,) = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    assert "movies has no champion yet" in str(failure.event_specific_data)
