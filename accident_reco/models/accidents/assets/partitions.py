"""Partitions of accident data: a year each. Which years are materialized is read from Dagster's event log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import dagster as dg

FIRST_YEAR: Final = 2005

years = dg.TimeWindowPartitionsDefinition(start=str(FIRST_YEAR), fmt="%Y", cron_schedule="0 0 1 1 *")
"""Every complete year from the first published one. A run may cover a range: read `context.partition_keys`."""

single_run = dg.BackfillPolicy.single_run()


def find_year_ranges(found: Iterable[str]) -> list[tuple[str, str]]:
    """Ranges (first, last) of consecutive years, ascending; one run of a job covers a range."""
    spans: list[tuple[str, str]] = []
    for year in sorted(found):
        if spans and int(year) == int(spans[-1][1]) + 1:
            spans[-1] = (spans[-1][0], year)
        else:
            spans.append((year, year))
    return spans


def find_years_with(instance: dg.DagsterInstance, asset: dg.AssetKey, field: str, value: str) -> set[str]:
    """Years whose latest materialization has `value` in a field of its metadata."""
    found = set()
    known = set(years.get_partition_keys())
    for year in known & instance.get_materialized_partitions(asset):
        query = dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[year])
        records = instance.fetch_materializations(query, limit=1).records
        materialization = records[0].asset_materialization if records else None
        recorded = materialization.metadata.get(field) if materialization else None
        if recorded is not None and recorded.value == value:
            found.add(year)
    return found


def require_years(first: str, last: str) -> None:
    """Check that a range of years can be ingested.

    Raises:
        ValueError: a year is no partition, or the range is empty.
    """
    known = years.get_partition_keys()
    if first not in known or last not in known or first > last:
        raise ValueError(f"{first}-{last} is no range of years from {known[0]} to {known[-1]}")
