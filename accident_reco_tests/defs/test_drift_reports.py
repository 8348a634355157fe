"""Drift reports as assets: what a person sees of them, what is kept, what fails in words."""

import dagster as dg

from accident_reco.storage import loop as loop
from accident_reco_tests.defs.small_loop import report, traffic


def test_definitions_load(definitions) -> None:
    """Everything is loadable; schedules and sensors run from the start and say what they are for."""
    dg.Definitions.validate_loadable(definitions)
    sensors = {sensor.name: sensor for sensor in definitions.sensors}
    assert set(sensors) == {
        "drift_reports", "performance_reports", "new_data", "accidents_training_requests", "movies_training_requests",
        "failed_runs", "rollbacks", "rollbacks_elsewhere",
    }  # fmt: skip
    assert all(sensor.default_status == dg.DefaultSensorStatus.RUNNING for sensor in sensors.values())
    assert all(sensor.description for sensor in sensors.values())
    for schedule in definitions.schedules:
        assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING


def test_a_report_shows_verdict_table_and_picture(definitions, instance, platform) -> None:
    """What a person sees in the asset's metadata, and what is kept: row, page, check."""
    traffic(platform, shift=1)
    result = report(definitions, instance)
    assert result.success
    metadata = result.asset_materializations_for_node("accidents__drift_report")[0].metadata
    assert metadata["verdict"].value == "drift"
    assert "2 of 3 features drifted (67%)" in metadata["reason"].value
    assert "| catu | chi2 |" in metadata["features"].value
    assert "**drifted**" in metadata["features"].value
    assert metadata["distances"].value.startswith("![distances](data:image/png;base64,")
    row = loop.latest_report(platform.warehouse, "accidents")
    assert row is not None
    assert row["id"] == metadata["report_id"].value
    page = platform.objects.read(row["report_key"])
    assert b'<section class="verdict red">' in page


def test_no_champion_is_a_failure_with_one_sentence(definitions, instance, platform) -> None:
    """Movies have no champion here: the run fails and says why."""
    asset = definitions.get_assets_def(dg.AssetKey(["movies", "drift_report"]))
    result = dg.materialize([asset], instance=instance, resources=definitions.resources, raise_on_error=False)
    assert not result.success
    (failure,) = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    assert "no movies version was promoted yet" in str(failure.event_specific_data)
