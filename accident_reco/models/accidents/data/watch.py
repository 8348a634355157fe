"""Comparison of source and object store: years that are new or corrected."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from accident_reco.models.accidents.codebook import TABLES
from accident_reco.models.accidents.data.raw_store import is_current, read_raw_record
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
