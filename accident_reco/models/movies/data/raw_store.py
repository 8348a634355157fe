"""Where movie data lies in the object store: published files as they came, named by a small record written last."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

from accident_reco.models.movies.data.formats import RatingReader
from accident_reco.models.movies.data.ingest import RatingFile
from accident_reco.models.movies.data.ratings import RatingScale
from accident_reco.models.movies.data.sources import Fetched, MovieSource, SourceError
from accident_reco.storage.objects import ObjectNotFound, ObjectStore

BASE = "assets/movies"
Which = Literal["raw_ratings", "raw_movies"]


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


def fetch_raw(store: ObjectStore, source: MovieSource, which: Which) -> tuple[RawRecord, bool]:
    """Store one file unless the stored one is the source's current one. Tells whether it was fetched.

    Raises SourceError.
    """
    fingerprint = source.fingerprint()
    stored = raw_record(store, which)
    if stored is not None and fingerprint and (stored.data_source, stored.fingerprint) == (
        source.data_source, fingerprint,
    ) and store.exists(stored.key):  # fmt: skip
        return stored, False
    fetch: Callable[[], Fetched] = source.ratings if which == "raw_ratings" else source.movies
    fetched = fetch()
    # The publisher's name is shown, never trusted as a path.
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", fetched.name)[-80:]
    key = f"{BASE}/{which}/{fetched.sha256[:16]}-{safe}"
    with fetched.stream:
        if not store.exists(key):
            store.write(key, fetched.stream)
    record = RawRecord(fetched.name, fetched.url, fetched.sha256, fetched.size, key, source.data_source, fingerprint,
                       fetched.note, datetime.now(UTC).isoformat(timespec="seconds"))  # fmt: skip
    store.write(f"{BASE}/{which}.json", json.dumps(asdict(record), indent=1).encode())
    return record, True


def stored_from(store: ObjectStore, source: MovieSource) -> bool:
    """Whether the stored ratings file is of what the source names now. Raises SourceError."""
    stored = raw_record(store, "raw_ratings")
    if stored is None or stored.data_source != source.data_source:
        return False
    return source.gave(stored.url, stored.fingerprint)


def raw_record(store: ObjectStore, which: Which) -> RawRecord | None:
    """What is stored; None when nothing is."""
    try:
        return RawRecord(**json.loads(store.read(f"{BASE}/{which}.json")))
    except ObjectNotFound:
        return None


def raw_file(store: ObjectStore, which: Which) -> tuple[RatingFile, RawRecord]:
    """A stored file to read. Raises SourceError when there is none."""
    record = raw_record(store, which)
    if record is None:
        raise SourceError(f"no {which.removeprefix('raw_')} file is stored; materialize movies/{which} first")
    return RatingFile(record.name, record.sha256, lambda: store.open(record.key)), record


def rating_scale(store: ObjectStore) -> RatingScale:
    """The scale of the stored ratings file. Raises SourceError, or UnknownFormat for a file that is none."""
    file, _ = raw_file(store, "raw_ratings")
    with file.open() as stream:
        return RatingReader(stream, file.name).scale
