"""Comparison of the configured source with the stored files: whether it offers others."""

from __future__ import annotations

import hashlib

from accident_reco.models.movies.data.raw_store import read_record
from accident_reco.models.movies.data.sources import MovieSource
from accident_reco.storage.objects import ObjectStore


def find_change(store: ObjectStore, source: MovieSource) -> str | None:
    """A key that identifies the change to the source's files; None where they are stored. Reads no published file.

    Raises:
        SourceError: the source has no files or cannot be reached.
    """
    fingerprint = source.compute_fingerprint()
    stored = [read_record(store, "raw_ratings"), read_record(store, "raw_movies")]
    if all(one and (one.data_source, one.fingerprint) == (source.data_source, fingerprint) for one in stored):
        return None
    # It depends on the stored files too: files that are replaced and restored have changed twice.
    before = hashlib.sha256(repr([one and one.fetched_at for one in stored]).encode()).hexdigest()[:8]
    return f"ingest:{source.data_source}:{fingerprint}:{before}"
