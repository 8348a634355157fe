"""Sensors of accident data: a new year, a corrected year, an unreachable source, an outdated warehouse."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from accident_reco.defs.resources import Platform
from accident_reco.models.accidents.assets import ingest as ingest_assets
from accident_reco.models.accidents.assets.sensors import build_source_sensor
from accident_reco.models.accidents.codebook import TABLES
from accident_reco.models.accidents.data import ingest, raw_store
from accident_reco.models.accidents.model import MODEL
from accident_reco.models.accidents.sample import sample_year
from accident_reco.models.accidents.sources import open_source
from accident_reco.settings import Settings

SETTINGS = Settings.load(accidents_watch_seconds=7)
accident_source = build_source_sensor(SETTINGS)


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "published"
    folder.mkdir()
    for year in (2022, 2023):
        for file in sample_year(year, 100).values():
            (folder / file.name).write_bytes(file.data)
    monkeypatch.setenv("ACCIDENT_RECO_ACCIDENTS_SOURCE", str(folder))
    return folder


@pytest.fixture
def platform(tmp_path: Path, published: Path) -> Iterator[Platform]:
    made = Platform(home=str(tmp_path / "home"))
    made.warehouse.upgrade()
    yield made
    made.warehouse.close()


@pytest.fixture(scope="module", autouse=True)
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance with a reference, as a code server has it: an ephemeral one reads no partitions in a sensor."""
    with dg.instance_for_test() as made:
        yield made


def _evaluate(sensor: dg.SensorDefinition, platform: Platform, cursor: str | None = None) -> Any:
    """A tick in the code server: what it requests from the daemon."""
    definitions = dg.Definitions(
        assets=[ingest_assets.build_accident_years(None), ingest_assets.accident_warehouse_tables],
        jobs=[ingest_assets.build_ingest_job(None), ingest_assets.load_accidents],
        sensors=[accident_source],
        resources={"platform": platform},
    )
    instance = dg.DagsterInstance.get()
    with dg.build_sensor_context(
        instance,
        definitions=definitions,
        resources={"platform": platform},
        cursor=cursor,
        instance_ref=instance.get_ref(),
    ) as context:
        return sensor.evaluate_tick(context)


def _tick(sensor: dg.SensorDefinition, platform: Platform, cursor: str | None = None) -> tuple[list[str], str]:
    """Run keys, and the reason for a skip."""
    data = _evaluate(sensor, platform, cursor)
    return [str(request.run_key) for request in data.run_requests or []], data.skip_message or ""


def _ingest(platform: Platform, *years: int) -> None:
    source = open_source(platform.settings)
    for done in ingest.ingest_years(platform.objects, source, years, TABLES, merge=True):
        assert isinstance(done, ingest.IngestedYear)


def test_new_stored_and_corrected_year(platform: Platform, published: Path) -> None:
    """Each year is requested once; stored years are not; a corrected file requests its year with another run key."""
    keys, _ = _tick(accident_source, platform)
    assert [key.split(":")[:3] for key in keys] == [["ingest", "directory", "2022"], ["ingest", "directory", "2023"]]
    assert _tick(accident_source, platform)[0] == keys
    _ingest(platform, 2022, 2023)
    assert _tick(accident_source, platform) == (
        [],
        "every year that the source offers is stored in its current version",
    )
    lieux = published / "lieux-2023.csv"
    lieux.write_bytes(lieux.read_bytes() + b"\n")
    (corrected,), _ = _tick(accident_source, platform)
    assert corrected.startswith("ingest:directory:2023:")
    assert corrected not in keys


def test_a_new_year_becomes_a_partition_in_the_tick_that_requests_it(platform: Platform, published: Path) -> None:
    """The daemon adds partitions before it starts runs; a year that is stored already becomes one too, once."""
    _ingest(platform, 2022)
    tick = _evaluate(accident_source, platform)
    (added,) = tick.dynamic_partitions_requests
    assert (added.partitions_def_name, added.partition_keys) == ("accident_years", ["2022", "2023"])
    assert [request.tags["dagster/partition"] for request in tick.run_requests] == ["2023"]
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions("accident_years", added.partition_keys)
        assert not _evaluate(accident_source, platform).dynamic_partitions_requests
        for file in sample_year(2021, 100).values():
            (published / file.name).write_bytes(file.data)
        (added,) = _evaluate(accident_source, platform).dynamic_partitions_requests
        assert added.partition_keys == ["2021"]
        for year in ("2022", "2023"):
            instance.delete_dynamic_partition("accident_years", year)


def test_unreadable_year_is_not_retried(platform: Platform, published: Path) -> None:
    """A year whose stored files cannot be merged waits for a correction instead of failing at each tick."""
    (published / "usagers-2023.csv").write_bytes(b"404")
    source = open_source(platform.settings)
    (bad,) = ingest.ingest_years(platform.objects, source, [2023], TABLES, merge=True)
    assert isinstance(bad, ingest.FailedYear)
    keys, _ = _tick(accident_source, platform)
    assert [key.split(":")[2] for key in keys] == ["2022"]


def test_unreachable_source(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unreachable source is a reason to skip, not a failure of the sensor; it is queried hourly."""
    monkeypatch.setenv("ACCIDENT_RECO_ACCIDENTS_SOURCE", "/nowhere/baac")
    assert "does not exist" in _tick(accident_source, Platform(home=platform.home))[1]
    monkeypatch.setenv("ACCIDENT_RECO_ACCIDENTS_SOURCE", "https://data.example/baac")
    away = Platform(home=platform.home)
    assert "less than an hour ago" in _tick(accident_source, away, cursor=str(time.time() - 60))[1]


def test_tick_is_cheap(platform: Platform, published: Path) -> None:
    """A tick reads names and small records, no published file: below a second with everything stored."""
    _ingest(platform, 2022, 2023)
    for name in raw_store.load_summaries(platform.objects):
        for key in platform.objects.list(f"assets/accidents/usagers/{name}"):
            platform.objects.delete(key)
    started = time.perf_counter()
    _tick(accident_source, platform)
    assert time.perf_counter() - started < 1


def test_interval_follows_the_setting() -> None:
    """Of all sensors of the data; a demonstration uses a short one."""
    found = {
        sensor.name: sensor.minimum_interval_seconds for sensor in MODEL.training().definitions(SETTINGS).sensors or ()
    }
    assert found == {"accident_source": 7, "accident_warehouse": 7, "accidents_scores": 7}
