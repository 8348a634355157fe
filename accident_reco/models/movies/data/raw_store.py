"""Published movie files in the object store, each with a small record that is written last."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

from accident_reco.models.movies.data.formats import RatingReader
from accident_reco.models.movies.data.ingest import SourceFile
from accident_reco.models.movies.data.ratings import RatingScale
from accident_reco.models.movies.data.sources import MovieSource, SourceError
from accident_reco.storage.objects import ObjectNotFound, ObjectStore

BASE = "assets/movies"
RawName = Literal["raw_ratings", "raw_movies"]


@dataclass(frozen=True)
class RawRecord:
    """One stored published file."""

    name: str
    url: str
    sha256: str
    size: int
    key: str
    data_source: str
    fingerprint: str
    note: str
    fetched_at: str


def fetch_raw(store: ObjectStore, source: MovieSource, which: RawName) -> tuple[RawRecord, bool]:
    """Store one file unless the stored one is the source's current one. Raises SourceError.

    Returns:
        The record, and whether the file was fetched.
    """
    fingerprint = source.compute_fingerprint()
    stored = read_record(store, which)
    current = stored is not None and (stored.data_source, stored.fingerprint) == (source.data_source, fingerprint)
    if stored is not None and current and fingerprint and store.exists(stored.key):
        return stored, False
    fetched = source.fetch_ratings() if which == "raw_ratings" else source.fetch_movies()
    # The publisher's name is displayed, never trusted as a path.
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", fetched.name)[-80:]
    key = f"{BASE}/{which}/{fetched.sha256[:16]}-{safe}"
    with fetched.stream:
        if not store.exists(key):
            store.write(key, fetched.stream)
    record = RawRecord(
        fetched.name,
        fetched.url,
        fetched.sha256,
        fetched.size,
        key,
        source.data_source,
        fingerprint,
        fetched.note,
        datetime.now(UTC).isoformat(timespec="seconds"),
    )
    store.write(f"{BASE}/{which}.json", json.dumps(asdict(record), indent=1).encode())
    return record, True


def is_from_source(store: ObjectStore, source: MovieSource) -> bool:
    """Whether the stored ratings file is of the configured source. Raises SourceError."""
    stored = read_record(store, "raw_ratings")
    if stored is None or stored.data_source != source.data_source:
        return False
    return source.provides(stored.url, stored.fingerprint)


def read_record(store: ObjectStore, which: RawName) -> RawRecord | None:
    """The record of a stored file; None when none is stored."""
    try:
        return RawRecord(**json.loads(store.read(f"{BASE}/{which}.json")))
    except ObjectNotFound:
        return None


def open_raw_file(store: ObjectStore, which: RawName) -> tuple[SourceFile, RawRecord]:
    """A stored file and its record. Raises SourceError when none is stored."""
    record = read_record(store, which)
    if record is None:
        raise SourceError(f"no {which.removeprefix('raw_')} file is stored; materialize movies/{which} first")
    return SourceFile(record.name, record.sha256, lambda: store.open(record.key)), record


def read_rating_scale(store: ObjectStore) -> RatingScale:
    """The scale of the stored ratings file. Raises SourceError, or UnknownFormat for a file in no known format."""
    file, _ = open_raw_file(store, "raw_ratings")
    with file.open() as stream:
        return RatingReader(stream, file.name).scale
