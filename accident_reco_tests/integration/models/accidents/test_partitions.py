"""Years as partitions: registered as the source offers them; the history of homes from before; ranges; runs."""

from collections.abc import Iterator, Sequence

import dagster as dg
import pytest

from accident_reco.models.accidents.assets import partitions
from accident_reco.models.accidents.assets.ingest import RAW, VICTIMS
from accident_reco.models.accidents.assets.partitions import YEARS


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def test_registered_years_keep_the_history_of_before(instance: dg.DagsterInstance) -> None:
    """Releases whose partitions were all years since 2005: what was materialized shows, also what no source offers."""
    every_year = dg.TimeWindowPartitionsDefinition(start="2005", fmt="%Y", cron_schedule="0 0 1 1 *")

    @dg.multi_asset(specs=[dg.AssetSpec(key, partitions_def=every_year, skippable=True) for key in (*RAW, VICTIMS)])
    def before(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        keys = RAW if context.partition_key == "2017" else [VICTIMS]
        yield from (dg.MaterializeResult(key) for key in keys)

    for year in ("2023", "2021", "2017"):
        assert dg.materialize([before], instance=instance, partition_key=year).success
    instance.get_status_by_partition(VICTIMS, every_year.get_partition_keys(), every_year)  # fills Dagster's cache

    partitions.register_years(instance, [2023, 2024])
    known = partitions.registered_years(instance)
    assert known == ["2017", "2021", "2023", "2024"]
    statuses = instance.get_status_by_partition(VICTIMS, known, YEARS)
    assert statuses is not None
    assert {year for year, status in statuses.items() if status is not None and status.value == "MATERIALIZED"} == {
        "2021",
        "2023",
    }


def test_years_are_registered_once(instance: dg.DagsterInstance) -> None:
    """A year that the source no longer offers stays; a repetition adds nothing."""
    partitions.register_years(instance, [2022, 2020])
    partitions.register_years(instance, [2022, 2023])
    partitions.register_years(instance, [2022, 2023])
    assert partitions.registered_years(instance) == ["2020", "2022", "2023"]


def test_a_run_of_an_unregistered_year_is_rejected(instance: dg.DagsterInstance) -> None:
    """Dagster starts no run of it: a typing error leaves no partition behind."""

    @dg.asset(partitions_def=YEARS)
    def years() -> None: ...

    partitions.register_years(instance, [2022])
    with pytest.raises(dg.DagsterUnknownPartitionError, match="2099"):
        dg.materialize([years], instance=instance, partition_key="2099")
    assert dg.materialize([years], instance=instance, partition_key="2022").success


@pytest.mark.parametrize(
    ("registered", "found", "ranges"),
    [
        (["2019", "2020", "2021"], ["2021", "2019", "2020"], [("2019", "2021")]),
        (["2019", "2020", "2021"], ["2019", "2021"], [("2019", "2019"), ("2021", "2021")]),
        (["2020", "2021", "2018", "2019"], ["2018", "2019", "2020", "2021"], [("2018", "2019"), ("2020", "2021")]),
        (["2019", "2021", "2020"], ["2019", "2020", "2021"], [(y, y) for y in ("2019", "2020", "2021")]),
        ([], [], []),
    ],
    ids=["ascending", "gap", "older years later", "between", "none"],
)
def test_ranges_are_as_dagster_reads_them(
    instance: dg.DagsterInstance, registered: Sequence[str], found: Sequence[str], ranges: list[tuple[str, str]]
) -> None:
    """Every range has the years between its ends and no other, in whatever order they were registered."""
    for year in registered:
        partitions.register_years(instance, [int(year)])
    assert partitions.find_year_ranges(found, partitions.registered_years(instance)) == ranges
    covered = []

    @dg.multi_asset(specs=[dg.AssetSpec("years", partitions_def=YEARS)], backfill_policy=partitions.single_run)
    def years(context: dg.AssetExecutionContext) -> None:
        covered.extend(context.partition_keys)

    for first, last in ranges:
        tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
        assert dg.materialize([years], instance=instance, tags=tags).success
    assert sorted(covered) == sorted(found)
