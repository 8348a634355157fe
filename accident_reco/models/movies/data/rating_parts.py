"""Ratings as Parquet parts in the object store: writes and reads the parts of one import.

What the API received is not in the parts; `rating_columns` combines both. See docs: Ratings as columns.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import numpy as np

from accident_reco.models.movies.data.ratings import RATING_COLUMNS, Ratings
from accident_reco.storage.objects import ObjectNotFound, ObjectStore, StoreError

if TYPE_CHECKING:
    import pyarrow as pa

BASE: Final = "assets/movies/rating_parts"
PART_ROWS: Final = 1 << 21
ROW_GROUP_ROWS: Final = 1 << 18
_FORMAT: Final = 1


@dataclass(frozen=True)
class Part:
    """One object of ratings, sorted by user and movie, with its range of users."""

    key: str
    rows: int
    size: int
    sha256: str
    min_user: int
    max_user: int


@dataclass(frozen=True)
class PartsManifest:
    """The parts of one import, in the order of the file.

    Args:
        load_id: the import (table rating_loads).
        ratings_sha256: digest of the import's ratings file.
    """

    load_id: int
    ratings_sha256: str
    parts: tuple[Part, ...] = ()

    @property
    def rows(self) -> int:
        """Ratings of all parts."""
        return sum(part.rows for part in self.parts)

    def list_urls(self, store: ObjectStore) -> list[str]:
        """URLs of the parts (`file://…`, `s3://…`), for engines that read Parquet themselves."""
        return [f"{store.url}/{part.key}" for part in self.parts]


def read_manifest(store: ObjectStore, load_id: int, ratings_sha256: str) -> PartsManifest | None:
    """The manifest of an import; None where there is none, or one of another file or of another release."""
    try:
        found = json.loads(store.read(_name_manifest(load_id)))
    except ObjectNotFound:
        return None
    if (found["format"], found["ratings_sha256"]) != (_FORMAT, ratings_sha256):
        return None
    return PartsManifest(load_id, ratings_sha256, tuple(Part(**part) for part in found["parts"]))


def is_complete(store: ObjectStore, manifest: PartsManifest) -> bool:
    """Whether every part that a manifest names is there."""
    return {part.key for part in manifest.parts} <= set(store.list(f"{BASE}/{manifest.load_id}"))


@dataclass
class PartsWriter:
    """Writes the ratings of one import as parts; nothing counts before `finish` has written the manifest."""

    store: ObjectStore
    load_id: int
    ratings_sha256: str
    _parts: list[Part] = field(default_factory=list)
    _waiting: list[Ratings] = field(default_factory=list)
    _rows: int = 0

    def add(self, ratings: Ratings) -> None:
        """Add rows; a (user, movie) pair must not repeat in the import."""
        while len(ratings):
            room = PART_ROWS - self._rows
            self._waiting.append(ratings.take(slice(0, room)))
            self._rows += len(self._waiting[-1])
            ratings = ratings.take(slice(room, None))
            if self._rows == PART_ROWS:
                self._write()

    def finish(self) -> PartsManifest:
        """Write the manifest; parts that a former manifest of this import named alone are deleted after it."""
        if self._rows:
            self._write()
        manifest = PartsManifest(self.load_id, self.ratings_sha256, tuple(self._parts))
        former = read_manifest(self.store, self.load_id, self.ratings_sha256) or manifest
        document = {"format": _FORMAT, **asdict(manifest), "rows": manifest.rows}
        self.store.write(_name_manifest(self.load_id), json.dumps(document, indent=1).encode())
        for key in {part.key for part in former.parts} - {part.key for part in manifest.parts}:
            self.store.delete(key)
        return manifest

    def _write(self) -> None:
        ratings = Ratings.concatenate(self._waiting).sort_by_user()
        self._waiting.clear()
        self._rows = 0
        data = encode(ratings)
        digest = sha256(data).hexdigest()
        key = f"{BASE}/{self.load_id}/{len(self._parts):05d}-{digest[:16]}.parquet"
        self.store.write(key, data)
        ends = int(ratings.user_id[0]), int(ratings.user_id[-1])
        self._parts.append(Part(key, len(ratings), len(data), digest, *ends))


def encode(ratings: Ratings) -> bytes:
    """Ratings as Parquet: ids int32, stars float32, seconds int64, none of them null."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = zip(RATING_COLUMNS, (pa.int32(), pa.int32(), pa.float32(), pa.int64()), strict=True)
    schema = pa.schema([pa.field(name, kind, nullable=False) for name, kind in kinds])
    columns = [pa.array(getattr(ratings, kind.name)).cast(kind.type) for kind in schema]
    stream = io.BytesIO()
    # Sorted ids and times are small as differences; snappy is read several times as fast as what packs tighter.
    pq.write_table(
        pa.table(columns, schema=schema),
        stream,
        row_group_size=ROW_GROUP_ROWS,
        compression="snappy",
        use_dictionary=["rating"],
        column_encoding=dict.fromkeys(("user_id", "movie_id", "rated_at"), "DELTA_BINARY_PACKED"),
        store_schema=False,
    )
    return stream.getvalue()


def iterate_parts(store: ObjectStore, manifest: PartsManifest, users: np.ndarray | None = None) -> Iterator[Ratings]:
    """The ratings of one part after the other.

    Args:
        users: sorted ids of the users whose ratings are read; all by default.

    Raises:
        ObjectNotFound: a part is missing: a later import has replaced it, or it was deleted.
        StoreError: a part does not have the content that was written.
    """
    for part in manifest.parts:
        if users is None:
            yield _read(store, part, None)
        elif _meets(users, part.min_user, part.max_user):
            found = _read(store, part, users)
            yield found.take(np.isin(found.user_id, users))


def _read(store: ObjectStore, part: Part, users: np.ndarray | None) -> Ratings:
    import pyarrow.parquet as pq

    data = store.read(part.key)
    if sha256(data).hexdigest() != part.sha256:
        fix = "delete it, and the next training writes it again from the warehouse"
        raise StoreError(f"{store.url}/{part.key} is damaged: its digest is not that of the manifest; fix: {fix}")
    file = pq.ParquetFile(io.BytesIO(data))
    if users is None:
        return _to_ratings(file.read(use_threads=False))
    groups = []
    for group in range(file.num_row_groups):
        limits = file.metadata.row_group(group).column(0).statistics
        if _meets(users, limits.min, limits.max):
            groups.append(group)
    return _to_ratings(file.read_row_groups(groups, use_threads=False))


def _to_ratings(table: pa.Table) -> Ratings:
    return Ratings.from_columns(*(table.column(name).to_numpy() for name in RATING_COLUMNS))


def _meets(users: np.ndarray, low: int, high: int) -> bool:
    """Whether one of the sorted ids lies in a range."""
    first = int(np.searchsorted(users, low))
    return first < len(users) and bool(users[first] <= high)


def delete_former(store: ObjectStore, manifest: PartsManifest) -> None:
    """Delete the parts of earlier imports, complete or not, and what this one's manifest does not name."""
    named: Sequence[str] = [_name_manifest(manifest.load_id), *(part.key for part in manifest.parts)]
    for key in store.list(BASE):
        with suppress(ValueError):
            load_id = int(key.removeprefix(f"{BASE}/").partition("/")[0])
            if load_id < manifest.load_id or (load_id == manifest.load_id and key not in named):
                store.delete(key)


def _name_manifest(load_id: int) -> str:
    return f"{BASE}/{load_id}/manifest.json"
