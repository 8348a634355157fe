"""Accident years through Dagster: a range as one run, a bad year alone, checks that block, the warehouse after it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from accident_reco.defs.io import BundleIOManager
from accident_reco.defs.resources import Platform
from accident_reco.defs.training_loop import training_definitions
from accident_reco.lifecycle.bundle import Bundle
from accident_reco.lifecycle.holdout import in_holdout
from accident_reco.models.accidents.assets import ingest as ingest
from accident_reco.models.accidents.assets.partitions import register_years
from accident_reco.models.accidents.codebook import TABLES
from accident_reco.models.accidents.data import raw_store
from accident_reco.models.accidents.data.queries import count_rows
from accident_reco.models.accidents.model import MODEL
from accident_reco.models.accidents.sample import sample_year
from accident_reco.models.accidents.training.training_population import load_population
from accident_reco_tests.support.republished import republished_files
from accident_reco_tests.support.warehouse_loading import read_view

PEOPLE = "300"


class World:
    """A home, an instance, and the ingestion part of the platform."""

    def __init__(self, home: Path) -> None:
        self.platform = Platform(home=str(home))
        self.instance = dg.DagsterInstance.ephemeral(tempdir=str(home / "dagster"))
        register_years(self.instance, range(2015, 2025))
        self.definitions = dg.Definitions(
            assets=[ingest.build_accident_years(None), ingest.accident_warehouse_tables],
            asset_checks=[ingest.freshness, ingest.warehouse_matches_store],
            jobs=[ingest.build_ingest_job(None), ingest.load_accidents],
            resources={"platform": self.platform},
        )

    def close(self) -> None:
        self.platform.warehouse.close()
        self.instance.dispose()

    def ingest(self, first: str, last: str | None = None) -> dg.ExecuteInProcessResult:
        tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last or first}
        return self.definitions.resolve_job_def("ingest_accidents").execute_in_process(
            instance=self.instance, tags=tags, raise_on_error=False
        )

    def load(self) -> dg.ExecuteInProcessResult:
        job = self.definitions.resolve_job_def("load_accidents")
        return job.execute_in_process(instance=self.instance, raise_on_error=False)

    def years(self) -> set[str]:
        return self.instance.get_materialized_partitions(ingest.VICTIMS)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("ACCIDENT_RECO_ACCIDENTS_SAMPLE_PEOPLE", PEOPLE)
    made = World(tmp_path / "home")
    yield made
    made.close()


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with sample files of 2021 to 2023, as published, which tests damage."""
    folder = tmp_path / "published"
    folder.mkdir()
    for year in (2021, 2022, 2023):
        for file in sample_year(year, 300).values():
            (folder / file.name).write_bytes(file.data)
    monkeypatch.setenv("ACCIDENT_RECO_ACCIDENTS_SOURCE", str(folder))
    return folder


def _checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()}


def test_range_of_years_is_one_run(world: World) -> None:
    """2016 to 2020, both file formats, in a single run: every year has its own materialization and figures."""
    result = world.ingest("2016", "2020")
    assert result.success
    assert world.years() == {"2016", "2017", "2018", "2019", "2020"}
    checks = _checks(result)
    assert len(checks) == 9  # raw_file_intact, of four assets, counts once
    # 2020 is old: a warning, which does not block.
    assert [name for name, passed in checks.items() if not passed] == ["freshness"]
    rows = {
        event.partition: event.step_materialization_data.materialization.metadata
        for event in result.all_events
        if event.event_type_value == "ASSET_MATERIALIZATION" and event.asset_key == ingest.VICTIMS
    }
    assert rows["2016"]["usagers_rows"].value != rows["2017"]["usagers_rows"].value
    assert rows["2016"]["data_source"].value == "sample"
    frame = raw_store.load_frame(world.platform.objects, "victims", 2017)
    assert rows["2017"]["dagster/row_count"].value == len(frame)
    assert [column.name for column in rows["2017"]["dagster/column_schema"].value.columns] == list(frame)
    lineage = rows["2017"]["dagster/column_lineage"].value.deps_by_column
    assert set(lineage) == set(frame)
    assert lineage["catv"] == [dg.TableColumnDep(["accidents", "vehicules"], "catv")]
    assert {dep.asset_key.path[-1] for dep in lineage["Num_Acc"]} == set(TABLES)
    assert {(dep.asset_key.path[-1], dep.column_name) for dep in lineage["others_riding"]} == {
        ("usagers", "catu"),
        ("vehicules", "catv"),
    }
    assert rows["2017"]["dagster/uri"].value.endswith("/assets/accidents/victims/2017.parquet")


def test_bad_year_fails_alone_and_is_retried_alone(world: World, published: Path) -> None:
    """A damaged file in the middle of a range: the other years succeed, it is named, and it alone is rerun."""
    good = (published / "usagers-2022.csv").read_bytes()
    (published / "usagers-2022.csv").write_bytes(b"<html>503 Service Unavailable</html>")
    result = world.ingest("2021", "2023")
    assert not result.success
    assert world.years() == {"2021", "2023"}
    failure = next(event for event in result.all_events if event.is_step_failure)
    error = failure.step_failure_data.user_failure_data
    assert error is not None
    assert error.description is not None
    assert error.description.startswith("2022: usagers-2022.csv line 1: this is not a usagers file: no column")
    (published / "usagers-2022.csv").write_bytes(good)
    assert world.ingest("2022").success
    assert world.years() == {"2021", "2022", "2023"}


def test_year_missing_in_the_source(world: World, published: Path) -> None:
    """A missing year fails; the other years succeed."""
    (published / "lieux-2021.csv").unlink()
    result = world.ingest("2021", "2022")
    assert not result.success
    assert world.years() == {"2022"}


def test_corrected_year_replaces_its_rows_and_nothing_else(world: World, published: Path) -> None:
    """The warehouse applies a correction of one year and leaves the other years' rows unchanged."""
    assert world.ingest("2021", "2023").success
    assert world.load().success
    before = {row["an"]: row["notes"] for row in read_view(world.platform.warehouse, "quarantine_by_rule")}
    usagers = published / "usagers-2022.csv"
    lines = usagers.read_text(encoding="utf-8").split("\n")
    cells = lines[5].split(";")
    lines[5] = ";".join([*cells[:7], '"9"', *cells[8:]])
    usagers.write_text("\n".join(lines), encoding="utf-8")
    assert world.ingest("2022").success
    result = world.load()
    assert result.success
    metadata = result.asset_materializations_for_node("accidents__warehouse_tables")[0].metadata
    assert (metadata["years_loaded"].value, metadata["years_unchanged"].value) == ("2022", "2021, 2023")
    after = read_view(world.platform.warehouse, "quarantine_by_rule")
    assert {(row["an"], row["column_name"], row["notes"]) for row in after if row["an"] == 2022} >= {(2022, "sexe", 1)}
    assert {row["an"]: row["notes"] for row in after if row["an"] != 2022} == {
        year: notes for year, notes in before.items() if year != 2022
    }


def test_year_read_twice_is_fetched_once(world: World, published: Path) -> None:
    """Rerunning a range downloads only changed files; the same bytes give the same version."""
    assert world.ingest("2021", "2022").success
    first = {
        year: summary["victims_sha256"] for year, summary in raw_store.load_summaries(world.platform.objects).items()
    }
    result = world.ingest("2021", "2022")
    fetched = [
        event.step_materialization_data.materialization.metadata["fetched"].value
        for event in result.all_events
        if event.event_type_value == "ASSET_MATERIALIZATION" and event.asset_key in ingest.RAW
    ]
    assert fetched == [False] * 8
    assert {y: s["victims_sha256"] for y, s in raw_store.load_summaries(world.platform.objects).items()} == first


def test_same_file_in_two_years_blocks(world: World, published: Path) -> None:
    """The users of 2021 published again as 2022: rejected rows and the duplicate file block."""
    (published / "usagers-2022.csv").write_bytes((published / "usagers-2021.csv").read_bytes())
    result = world.ingest("2021", "2022")
    failed = {name for name, passed in _checks(result).items() if not passed}
    assert {"files_unique", "one_row_per_road_user"} <= failed
    assert not result.success


def _republish(published: Path, source: int, year: int) -> None:
    """Replace a year's files by another year's, with other numbers, ids and order."""
    files = republished_files(sample_year(source, 300), year)
    for file in files.values():
        (published / file.name).write_bytes(file.data)


def test_republished_year_blocks(world: World, published: Path) -> None:
    """2022 republished as 2023 with other numbers, ids and order: fails with count, years, examples and fix."""
    _republish(published, 2022, 2023)
    result = world.ingest("2021", "2023")
    assert not result.success
    failed = [check for check in result.get_asset_check_evaluations() if not check.passed and check.blocking]
    assert [check.check_name for check in failed] == ["no_duplicate_accidents"]
    accidents = raw_store.load_summaries(world.platform.objects)[2023]["counts"]["caracteristiques"][1]
    (of_2022, of_2023) = failed[0].metadata["failed"].value
    assert of_2022.startswith(f"2022: {accidents} of {accidents} accidents (100.00%) have the content of another one")
    assert of_2023.startswith(f"2023: {accidents} of {accidents} accidents (100.00%) have the content of another one")
    assert re.search(
        rf"\({accidents} of 2022; such as 2023\d{{8}} = 2022\d{{8}} of 2022, .* Fix: put the year's", of_2023
    )


def test_partly_republished_year_blocks(world: World, published: Path) -> None:
    """A tenth of 2022 inserted into 2023."""
    own, copied = sample_year(2023, 300), republished_files(sample_year(2022, 300), 2023)
    for table, file in own.items():
        _, *rows = copied[table].data.decode().splitlines()
        chosen = [row.replace('"20230000', '"20239990', 1) for row in rows if int(row[9:13]) <= 13]
        (published / file.name).write_text(file.data.decode().rstrip("\n") + "\n" + "\n".join(chosen), encoding="utf-8")
    result = world.ingest("2022", "2023")
    failed = {name for name, passed in _checks(result).items() if not passed}
    assert failed - {"freshness"} == {"no_duplicate_accidents"}
    assert not result.success


def test_duplicates_are_excluded_and_block_promotion(world: World, published: Path) -> None:
    """The failed year stays stored: trainings exclude the copies, and the gate rejects candidates."""
    assert world.ingest("2021", "2022").success
    settings = world.platform.settings
    before = load_population(world.platform.objects, settings)
    assert not len(before.excluded)
    _republish(published, 2022, 2023)
    world.ingest("2023")
    after = load_population(world.platform.objects, settings)
    used = set(after.victims["Num_Acc"])
    assert used < set(before.victims["Num_Acc"])
    assert {number for number in used if in_holdout(number)} == {
        number for number in before.victims["Num_Acc"] if in_holdout(number)
    }

    candidate = Bundle(
        "accidents", {"model.onnx": b"x"}, {}, {"roc_auc": 0.99}, {"sources": [], "data_source": "directory"}
    )
    rejected = _promote(world, candidate)
    assert rejected["promoted"].value is False
    assert "2022: 133 of 133 accidents (100.00%) have the content of another one" in str(rejected["reason"].value)
    assert world.platform.models.pointer("accidents") is None


def _promote(world: World, candidate: Bundle) -> Mapping[str, dg.MetadataValue[Any]]:
    """Materialize production_model for a candidate; returns its metadata."""
    world.platform.warehouse.upgrade()

    @dg.asset(key=["accidents", "candidate_model"], group_name="accidents_training", io_manager_key="bundles")
    def candidate_model() -> Bundle:
        return candidate

    resources = {"platform": world.platform, "bundles": BundleIOManager(platform=world.platform)}
    made = training_definitions(MODEL).assets or ()
    (production_model,) = [
        asset for asset in made if isinstance(asset, dg.AssetsDefinition) and asset.key.path[-1] == "production_model"
    ]
    result = dg.materialize(
        [candidate_model, production_model], instance=world.instance, resources=resources, raise_on_error=False
    )
    (event,) = result.asset_materializations_for_node("accidents__production_model")
    return event.metadata


def test_sources_are_not_mixed(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sample years in the store, then files of a directory: the warehouse holds the directory's year only."""
    assert world.ingest("2021", "2022").success
    assert world.load().success
    folder = tmp_path / "real"
    folder.mkdir()
    for file in sample_year(2023, 200, seed=5).values():
        (folder / file.name).write_bytes(file.data)
    monkeypatch.setenv("ACCIDENT_RECO_ACCIDENTS_SOURCE", str(folder))
    later = World(Path(world.platform.home))
    assert later.ingest("2023").success
    assert later.load().success
    people = raw_store.load_summaries(later.platform.objects)[2023]["victims"]
    assert count_rows(later.platform.warehouse)["victims"] == people
    assert list(raw_store.load_current_years(later.platform.objects, "directory")) == [2023]
    later.close()
