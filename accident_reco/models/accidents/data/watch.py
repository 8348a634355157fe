"""Comparison of source, object store and warehouse: years that are new, corrected, or to be loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accident_reco.models.accidents.codebook import TABLES
from accident_reco.models.accidents.data.raw_store import is_current, load_current_years, read_raw_record
from accident_reco.models.accidents.sources.base import Source
from accident_reco.storage.objects import ObjectStore


@dataclass(frozen=True)
class ChangedYear:
    """A year whose published files differ from the stored ones.

    Args:
        kind: `new` or `corrected`.
        key: identifies the change, so that it is ingested once.
    """

    year: int
    kind: str
    key: str


def find_changed_years(store: ObjectStore, source: Source) -> list[ChangedYear]:
    """Years of the source that are not stored, or in another version. Reads no published file.

    Raises:
        SourceError: the source has no year or cannot be reached.
    """
    changed = []
    for year in source.years():
        fingerprint = source.fingerprint(year)
        stored = [read_raw_record(store, year, table) for table in TABLES]
        if all(record and is_current(record, source, fingerprint) for record in stored):
            continue
        same_source = any(record and record.data_source == source.data_source for record in stored)
        kind = "corrected" if same_source else "new"
        # The key depends on the stored version too: a file that is corrected and restored has changed twice.
        before = hashlib.sha256(repr([record and record.fetched_at for record in stored]).encode()).hexdigest()[:8]
        changed.append(ChangedYear(year, kind, f"ingest:{source.data_source}:{year}:{fingerprint}:{before}"))
    return changed


def find_stale_years(
    store: ObjectStore, data_source: str, loaded: Mapping[int, Mapping[str, Any]]
) -> tuple[list[int], str]:
    """Years to load into or delete from the warehouse, ascending, and a key that identifies this state.

    `loaded` are the rows of `accident_years` by year.
    """
    stored = {year: str(summary["victims_sha256"]) for year, summary in load_current_years(store, data_source).items()}
    present = {year: str(row["victims_sha256"]) for year, row in loaded.items()}
    stale = sorted(year for year in stored.keys() | present.keys() if stored.get(year) != present.get(year))
    state = repr((sorted(stored.items()), sorted((year, str(row["loaded_at"])) for year, row in loaded.items())))
    return (stale if stored else []), f"load:accidents:{hashlib.sha256(state.encode()).hexdigest()[:16]}"
