"""Accident data in the object store: published files, canonical frames, and a summary per year.

The key of a published file contains its hash, so that a corrected file does not replace the earlier one. A small record
refers to the current file; it is written last, so that its file always exists.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

import pandas as pd

from accident_reco.models.accidents.codebook import TABLES
from accident_reco.models.accidents.data import duplicates
from accident_reco.models.accidents.data.victims import AccidentYear, RawFile
from accident_reco.models.accidents.sources.base import Fetched, Source, SourceError
from accident_reco.storage.objects import ObjectNotFound, ObjectStore

RAW: Final = "assets/accidents"
CANONICAL: Final = "assets/accidents/canonical"
VICTIMS: Final = "assets/accidents/victims"
FIRST_COMPARABLE_YEAR: Final = 2019
FRAMES: Final = ("accidents", "places", "vehicles", "victims", "quarantine")


@dataclass(frozen=True)
class RawRecord:
    """One stored published file; `fingerprint` is that of the whole year at the source."""

    an: int
    table: str
    name: str
    url: str
    sha256: str
    size: int
    key: str
    data_source: str
    fingerprint: str
    fetched_at: str


def fetch_raw_file(store: ObjectStore, source: Source, year: int, table: str) -> tuple[RawRecord, bool]:
    """Fetch and store a published file unless the stored one is current; returns its record and whether it was fetched.

    Raises:
        SourceError: the source cannot provide the file.
    """
    fingerprint = source.fingerprint(year)
    stored = read_raw_record(store, year, table)
    if stored is not None and is_current(stored, source, fingerprint):
        return stored, False
    fetched = source.fetch(year, table)
    with fetched.stream:
        return _save_raw_file(store, fetched, year, table, source.data_source, fingerprint), True


def is_current(record: RawRecord, source: Source, fingerprint: str) -> bool:
    """Whether a stored file is the source's current one, as far as the source knows."""
    return record.data_source == source.data_source and (record.fingerprint == fingerprint or not source.is_current())


def _save_raw_file(
    store: ObjectStore, fetched: Fetched, year: int, table: str, data_source: str, fingerprint: str
) -> RawRecord:
    # The publisher's file name is never used as a path.
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", fetched.name)[-80:]
    key = f"{RAW}/{table}/{year}/{fetched.sha256[:16]}-{safe}"
    if not store.exists(key):
        store.write(key, fetched.stream)
    record = RawRecord(
        year,
        table,
        fetched.name,
        fetched.url,
        fetched.sha256,
        fetched.size,
        key,
        data_source,
        fingerprint,
        datetime.now(UTC).isoformat(timespec="seconds"),
    )
    store.write(f"{RAW}/{table}/{year}.json", json.dumps(asdict(record), indent=1).encode())
    return record


def read_raw_record(store: ObjectStore, year: int, table: str) -> RawRecord | None:
    """Record of the stored file of a year and table; None if there is none."""
    try:
        return RawRecord(**json.loads(store.read(f"{RAW}/{table}/{year}.json")))
    except ObjectNotFound:
        return None


def read_raw_files(store: ObjectStore, year: int) -> tuple[dict[str, RawFile], dict[str, RawRecord]]:
    """The four stored files of a year, verified, and their records, by table.

    Raises:
        SourceError: a file is missing, or its content is not what was stored.
    """
    files, records = {}, {}
    for table in TABLES:
        record = read_raw_record(store, year, table)
        if record is None:
            raise SourceError(
                f"{table} of {year} is not in the store; fix: materialize accidents/{table} for {year} first"
            )
        data = store.read(record.key)
        if hashlib.sha256(data).hexdigest() != record.sha256:
            raise SourceError(
                f"{record.key} is not what was stored; fix: materialize accidents/{table} for {year} again"
            )
        files[table], records[table] = RawFile(record.name, data), record
    return files, records


def write_frame(store: ObjectStore, key: str, frame: pd.DataFrame) -> str:
    """Store a frame as Parquet; returns its sha256."""
    stream = io.BytesIO()
    frame.to_parquet(stream, index=False, compression="zstd")
    data = stream.getvalue()
    store.write(key, data)
    return hashlib.sha256(data).hexdigest()


def save_year(store: ObjectStore, year: int, built: AccidentYear, summary: dict[str, Any]) -> None:
    """Store the other frames for the warehouse, then the summary, whose existence marks the year as stored."""
    for name in ("accidents", "places", "vehicles"):
        write_frame(store, f"{CANONICAL}/{name}/{year}.parquet", getattr(built, name))
    store.write(f"{VICTIMS}/{year}.json", json.dumps(summary, indent=1).encode())


def load_frame(store: ObjectStore, name: str, year: int, columns: list[str] | None = None) -> pd.DataFrame:
    """A stored frame of a year (accidents, places, vehicles, victims or quarantine) with all columns or those named.

    Raises:
        ObjectNotFound: it is not stored.
    """
    base = f"{RAW}/{name}" if name in ("victims", "quarantine") else f"{CANONICAL}/{name}"
    return pd.read_parquet(io.BytesIO(store.read(f"{base}/{year}.parquet")), columns=columns)


def load_contents(store: ObjectStore, years: Iterable[int]) -> duplicates.AccidentContents:
    """Contents of the accidents of stored years, computed from the victims: 0.2 s per year.

    Raises:
        ObjectNotFound: a year is not stored.
    """
    return duplicates.AccidentContents.concatenate(
        duplicates.AccidentContents.from_victims(load_frame(store, "victims", year, list(duplicates.COLUMNS)))
        for year in years
    )


def load_summaries(store: ObjectStore) -> dict[int, dict[str, Any]]:
    """Year → summary of all stored years, ascending."""
    keys = [key for key in store.list(VICTIMS) if re.fullmatch(r".*/\d{4}\.json", key)]
    return {int(key[-9:-5]): json.loads(store.read(key)) for key in sorted(keys)}


def load_current_years(store: ObjectStore, data_source: str) -> dict[int, dict[str, Any]]:
    """Year → summary of the stored years of this source; years of different sources must not be mixed."""
    return {year: summary for year, summary in load_summaries(store).items() if summary["data_source"] == data_source}


def select_comparable_years(stored: Mapping[int, Any]) -> list[int]:
    """The stored years that one model may be trained on.

    Before 2019 "hospitalised" was recorded by another definition (warning of the publisher); such years are used only
    where there are no others.
    """
    return [year for year in stored if year >= FIRST_COMPARABLE_YEAR] or list(stored)
