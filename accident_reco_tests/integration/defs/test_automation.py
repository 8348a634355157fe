"""Conditions of assets that follow others: what is requested after which change, and that no change is lost."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from accident_reco.defs.automation import DATA_VERSION_TAG, FOLLOW_CONTENT, FOLLOW_UPDATES

YEARS = dg.DynamicPartitionsDefinition(name="years")
LOAD, SCORES = dg.AssetKey("load"), dg.AssetKey("scores")


@dg.asset(partitions_def=YEARS)
def victims() -> None: ...


@dg.asset
def champion() -> None: ...


@dg.asset(deps=[victims], automation_condition=FOLLOW_UPDATES)
def load() -> None: ...


@dg.asset(partitions_def=YEARS, deps=[victims, champion], automation_condition=FOLLOW_CONTENT)
def scores() -> None: ...


DEFINITIONS = dg.Definitions([victims, champion, load, scores])


class Evaluations:
    """Successive evaluations, as the daemon's."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self._cursor: dg.AutomationConditionCursor | None = None

    def materialize(self, key: str, version: str, partition: str | None = None) -> None:
        event = dg.AssetMaterialization(key, partition=partition, tags={DATA_VERSION_TAG: version})
        self.instance.report_runless_asset_event(event)

    def tick(self) -> tuple[int, list[str]]:
        """Number of requested loads, and the years to score."""
        found = dg.evaluate_automation_conditions(
            DEFINITIONS, self.instance, asset_selection=dg.AssetSelection.all(), cursor=self._cursor
        )
        self._cursor = found.cursor
        return found.get_num_requested(LOAD), sorted(found.get_requested_partitions(SCORES) or [])


@pytest.fixture
def evaluations() -> Iterator[Evaluations]:
    """Two years and a champion, as `accident-reco up` leaves them before the daemon's first evaluation."""
    with dg.DagsterInstance.ephemeral() as instance:
        found = Evaluations(instance)
        instance.add_dynamic_partitions("years", ["2020", "2021", "2022", "2023"])
        for year in ("2022", "2023"):
            found.materialize("victims", f"rows of {year}", year)
        found.materialize("champion", "first")
        assert found.tick() == (0, [])
        assert found.tick() == (0, [])
        yield found


def test_scores_follow_the_champion(evaluations: Evaluations) -> None:
    """Every stored year after a promotion; none after a training that the gate rejected; again after a rollback."""
    evaluations.materialize("champion", "first")
    assert evaluations.tick() == (0, [])
    evaluations.materialize("champion", "second")
    assert evaluations.tick() == (0, ["2022", "2023"])
    assert evaluations.tick() == (0, [])
    evaluations.materialize("champion", "first")
    assert evaluations.tick() == (0, ["2022", "2023"])
    assert evaluations.tick() == (0, [])


def test_scores_and_tables_follow_the_years(evaluations: Evaluations) -> None:
    """A new year is scored alone, and loaded."""
    evaluations.instance.add_dynamic_partitions("years", ["2024"])
    assert evaluations.tick() == (0, [])
    evaluations.materialize("victims", "rows of 2024", "2024")
    assert evaluations.tick() == (1, ["2024"])
    assert evaluations.tick() == (0, [])


def test_a_year_between_a_request_and_the_next_evaluation_is_not_lost(evaluations: Evaluations) -> None:
    """The load that was requested may have listed the years before it."""
    evaluations.instance.add_dynamic_partitions("years", ["2024"])
    evaluations.materialize("victims", "rows of 2024", "2024")
    assert evaluations.tick() == (1, ["2024"])
    evaluations.materialize("victims", "corrected", "2024")
    evaluations.materialize("victims", "rows of 2021", "2021")
    assert evaluations.tick() == (1, ["2021", "2024"])
    assert evaluations.tick() == (0, [])


def test_a_load_in_progress_delays_the_next_one(evaluations: Evaluations) -> None:
    """It is requested when the run in progress has ended, although that has updated the tables meanwhile."""
    job = DEFINITIONS.resolve_implicit_global_asset_job_def().get_subset(asset_selection={LOAD})
    run = evaluations.instance.create_run_for_job(job, asset_selection=frozenset({LOAD}))
    evaluations.instance.report_run_canceling(run)
    evaluations.instance.add_dynamic_partitions("years", ["2024"])
    evaluations.materialize("victims", "rows of 2024", "2024")
    assert evaluations.tick()[0] == 0
    evaluations.materialize("load", "without 2024")
    evaluations.instance.report_run_canceled(run)
    assert evaluations.tick()[0] == 1
    assert evaluations.tick()[0] == 0
