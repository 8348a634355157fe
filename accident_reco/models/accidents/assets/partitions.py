"""Partitions of accident data: one per year that the source offers. Their list is kept in Dagster's instance.

The source sensor and the launch of runs on the command line add years; which are materialized is in the event log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

import dagster as dg

from accident_reco.models.accidents.codebook import TABLES
from accident_reco.models.accidents.model import BASE

_NAME: Final = "accident_years"
YEARS: Final = dg.DynamicPartitionsDefinition(name=_NAME)
"""A run may cover a range of years: read `context.partition_keys`."""

YEARLY_ASSETS: Final = [dg.AssetKey([BASE, name]) for name in (*TABLES, "victims", "quarantine")]
"""Assets of the ingestion."""

single_run = dg.BackfillPolicy.single_run()


def registered_years(instance: dg.DagsterInstance) -> Sequence[str]:
    """Years that are partitions, in the order in which they were added, which is that of ranges."""
    return YEARS.get_partition_keys(dynamic_partitions_store=instance)


def find_unregistered_years(instance: dg.DagsterInstance, offered: Iterable[int]) -> list[str]:
    """Years to add, ascending: those that the source offers, and the history of a home in which none was added yet."""
    known = set(registered_years(instance))
    wanted = {str(year) for year in offered}
    if not known:  # new, or of a release whose partitions were all years since 2005
        wanted = wanted.union(*map(instance.get_materialized_partitions, YEARLY_ASSETS))
    return sorted(wanted - known)


def register_years(instance: dg.DagsterInstance, offered: Iterable[int]) -> None:
    """Add the years that are no partitions yet. Safe to repeat, and beside another process that does the same."""
    if missing := find_unregistered_years(instance, offered):
        instance.add_dynamic_partitions(_NAME, missing)


def find_year_ranges(found: Iterable[str], registered: Sequence[str]) -> list[tuple[str, str]]:
    """Ranges (first, last) of consecutive years, ascending; one run of a job covers a range.

    Dagster reads a range in the order in which partitions were added: years that were added later than those after
    them are ranges of their own.
    """
    neighbours = set(pairwise(registered))
    spans: list[tuple[str, str]] = []
    for year in sorted(found):
        if spans and int(year) == int(spans[-1][1]) + 1 and (spans[-1][1], year) in neighbours:
            spans[-1] = (spans[-1][0], year)
        else:
            spans.append((year, year))
    return spans


def find_years_with(instance: dg.DagsterInstance, asset: dg.AssetKey, field: str, value: str) -> set[str]:
    """Years whose latest materialization has `value` in a field of its metadata."""
    found = set()
    for year in instance.get_materialized_partitions(asset):
        query = dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[year])
        records = instance.fetch_materializations(query, limit=1).records
        materialization = records[0].asset_materialization if records else None
        recorded = materialization.metadata.get(field) if materialization else None
        if recorded is not None and recorded.value == value:
            found.add(year)
    return found


def select_years(instance: dg.DagsterInstance, first: str, last: str) -> list[str]:
    """Years from `first` to `last`, ascending.

    Raises:
        ValueError: the range is empty, or one of the two is no partition.
    """
    known = sorted(registered_years(instance))
    if first not in known or last not in known or first > last:
        offered = f"a range of the years that the source offers: {', '.join(known)}" if known else "available: no year"
        raise ValueError(f"{first}-{last} is not {offered}")
    return [year for year in known if first <= year <= last]
