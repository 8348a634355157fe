"""What a source offers against what is stored: which years are new, corrected, or waiting for the warehouse."""

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
    """A year whose published files are not the stored ones. `key` names the content: the same change once."""

    year: int
    kind: str
    key: str


def find_changed_years(store: ObjectStore, source: Source) -> list[ChangedYear]:
    """Years that the source has and the store has not, or not in this version. Reads no published file.

    Raises SourceError when the source offers nothing or cannot be reached.
    """
    changed = []
    for year in source.years():
        fingerprint = source.fingerprint(year)
        stored = [read_raw_record(store, year, table) for table in TABLES]
        if all(record and is_current(record, source, fingerprint) for record in stored):
            continue
        same_source = any(record and record.data_source == source.data_source for record in stored)
        what = "corrected" if same_source else "new"
        # Named by what is there before, too: a file that is corrected and put back has changed twice.
        before = hashlib.sha256(repr([record and record.fetched_at for record in stored]).encode()).hexdigest()[:8]
        changed.append(ChangedYear(year, what, f"ingest:{source.data_source}:{year}:{fingerprint}:{before}"))
    return changed


def find_stale_years(
    store: ObjectStore, data_source: str, loaded: Mapping[int, Mapping[str, Any]]
) -> tuple[list[int], str]:
    """Years that the warehouse lacks, holds in another version or holds though they are gone; and a key for this news.

    `loaded` are the rows of `accident_years` by year.
    """
    stored = {year: str(summary["victims_sha256"]) for year, summary in load_current_years(store, data_source).items()}
    there = {year: str(row["victims_sha256"]) for year, row in loaded.items()}
    waiting = sorted(year for year in stored.keys() | there.keys() if stored.get(year) != there.get(year))
    told = repr((sorted(stored.items()), sorted((year, str(row["loaded_at"])) for year, row in loaded.items())))
    return (waiting if stored else []), f"load:accidents:{hashlib.sha256(told.encode()).hexdigest()[:16]}"
