"""Ingestion of years: stored files, stored frames, summaries, checks, and rows of the warehouse. No Dagster."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from accident_reco.models.accidents.codebook import FIELDS, describe_code
from accident_reco.models.accidents.data.checks import CheckOutcome, check_year, summarise
from accident_reco.models.accidents.data.duplicates import find_duplicates_by_year
from accident_reco.models.accidents.data.quarantine import Quarantine
from accident_reco.models.accidents.data.queries import (
    delete_years,
    load_year,
    read_loaded_years,
    save_codebook,
)
from accident_reco.models.accidents.data.raw_store import (
    FRAMES,
    RAW,
    RawRecord,
    fetch_raw_file,
    load_contents,
    load_current_years,
    load_frame,
    load_summaries,
    read_raw_files,
    read_raw_record,
    save_year,
    write_frame,
)
from accident_reco.models.accidents.data.reading import UnreadableFile, read_table
from accident_reco.models.accidents.data.victims import build_victims
from accident_reco.models.accidents.sources import Source, SourceError
from accident_reco.storage.objects import ObjectStore
from accident_reco.storage.warehouse import Warehouse


@dataclass
class IngestedYear:
    """An ingested year.

    Args:
        files: table → stored file, and whether it was fetched now.
        summary, quarantine: result of the merge; None without a merge.
    """

    year: int
    files: dict[str, tuple[RawRecord, bool]]
    summary: dict[str, Any] | None = None
    quarantine: pd.DataFrame | None = None


@dataclass
class FailedYear:
    """A year that could not be fetched or merged, and the reason."""

    year: int
    reason: str


def ingest_years(
    store: ObjectStore, source: Source, years: Iterable[int], tables: Sequence[str], merge: bool
) -> Iterator[IngestedYear | FailedYear]:
    """Fetch tables whose current file is not stored, and with `merge` merge the stored ones, year by year.

    A failed year does not affect others; one year at a time is in memory.
    """
    for year in years:
        try:
            ingested = IngestedYear(year, {table: fetch_raw_file(store, source, year, table) for table in tables})
            if merge:
                ingested.summary, ingested.quarantine = merge_year(store, year)
        except (SourceError, UnreadableFile) as error:
            yield FailedYear(year, str(error))
        else:
            yield ingested


def merge_year(store: ObjectStore, year: int) -> tuple[dict[str, Any], pd.DataFrame]:
    """Merge a stored year and store its frames and summary; returns the summary and the quarantine.

    Raises:
        SourceError: a published file is not in the store.
        UnreadableFile: a published file is not a file of its table.
    """
    files, records = read_raw_files(store, year)
    built = build_victims(files, year)
    write_frame(store, f"{RAW}/quarantine/{year}.parquet", built.quarantine)
    sha256 = write_frame(store, f"{RAW}/victims/{year}.parquet", built.victims)
    summary = summarise(built, year, {table: asdict(record) for table, record in records.items()}, sha256)
    save_year(store, year, built, summary)
    return summary, built.quarantine


def check_years(store: ObjectStore, years: Iterable[int]) -> list[list[CheckOutcome]]:
    """Outcomes of the checks of each given year, against the stored years of its source."""
    stored, wanted = load_summaries(store), list(years)
    found: dict[int, list[CheckOutcome]] = {}
    for source in {stored[year]["data_source"] for year in wanted}:
        comparable = {year: summary for year, summary in stored.items() if summary["data_source"] == source}
        duplicates = find_duplicates_by_year(load_contents(store, comparable))
        found |= {year: check_year(comparable, year, duplicates) for year in wanted if year in comparable}
    return [found[year] for year in wanted]


def check_raw_file(store: ObjectStore, year: int, table: str) -> CheckOutcome:
    """Check that a stored file is byte for byte the fetched one, and a file of its table."""
    record = read_raw_record(store, year, table)
    if record is None:
        return CheckOutcome("raw_file_intact", False, f"{year}: {table} is not in the store")
    data = store.read(record.key)
    if (hashlib.sha256(data).hexdigest(), len(data)) != (record.sha256, record.size):
        return CheckOutcome(
            "raw_file_intact", False, f"{year}: {record.key} is not the fetched file; fix: ingest it again"
        )
    try:
        rows = read_table(data, table, record.name, Quarantine(year)).rows_in
    except UnreadableFile as error:
        return CheckOutcome("raw_file_intact", False, f"{year}: {error}")
    reason = f"{year}: {record.name}, {rows:,} rows, {record.size:,} bytes"
    return CheckOutcome("raw_file_intact", rows > 0, reason, numbers={"rows": rows})


def plot_severity(summary: dict[str, Any]) -> bytes:
    """PNG of a bar chart of the severities of a year."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 1.8), dpi=100, layout="constrained")
    axes = figure.subplots()
    codes = [code for code in (1, 4, 3, 2) if str(code) in summary["grav"]]
    axes.barh(
        [describe_code("grav", code) for code in codes], [summary["grav"][str(code)] for code in codes], color="#4a78a8"
    )
    axes.set_title(f"{summary['an']}: {summary['victims']:,} road users ({summary['data_source']})", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.invert_yaxis()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def load_warehouse(store: ObjectStore, warehouse: Warehouse, data_source: str) -> dict[str, list[int]]:
    """Synchronise the warehouse with the stored years of a source: replace changed years, then remove all others.

    Each year changes in one transaction. Killed in between, every year is the one before or the new one, and none that
    was there is missing; the next call does the rest.

    Returns the years `loaded`, `unchanged` and `removed`.
    """
    years, present = load_current_years(store, data_source), read_loaded_years(warehouse)
    done: dict[str, list[int]] = {"loaded": [], "unchanged": [], "removed": sorted(set(present) - set(years))}
    save_codebook(
        warehouse,
        [(field.name, code, fr, en) for field in FIELDS.values() for code, (fr, en) in (field.codes or {}).items()],
    )
    for year, summary in years.items():
        version = (summary["data_source"], summary["victims_sha256"])
        if year in present and (present[year]["data_source"], present[year]["victims_sha256"]) == version:
            done["unchanged"].append(year)
            continue
        frames = {name: load_frame(store, name, year) for name in FRAMES}
        facts = {
            "data_source": summary["data_source"],
            "victims_sha256": summary["victims_sha256"],
            "refused": sum(count[2] for count in summary["counts"].values()),
            "repaired": sum(summary["repaired"].values()),
            "months": summary["months"],
        }
        load_year(warehouse, year, frames, facts)
        done["loaded"].append(year)
    delete_years(warehouse, done["removed"])
    return done
