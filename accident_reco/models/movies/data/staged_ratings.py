"""Makes all ratings readable for a cluster: the parts are, and what the API received is written beside them for a job.

Nothing is held in memory but a block. See docs: Ratings as columns.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

import numpy as np

from accident_reco.models.movies.data import queries, raw_store
from accident_reco.models.movies.data.rating_columns import find_parts, open_snapshot, write_parts
from accident_reco.storage.objects import ObjectStore
from accident_reco.storage.warehouse import Warehouse

BASE: Final = f"{raw_store.BASE}/spark"
BLOCK_ROWS: Final = 1 << 18


@dataclass(frozen=True)
class StagedRatings:
    """Where a cluster reads all ratings, and a folder for what it writes meanwhile; URLs as the store names them.

    Args:
        parts: Parquet of the import, with the columns of `Ratings`.
        received: Parquet of what the API received: those columns, `simulated` and `received_at`. Its pairs replace
            those of the parts, and of its rows those count that were received by `until` (ms UTC, inclusive).
        work: folder that contains `received`, deleted at the end.
    """

    parts: tuple[str, ...]
    received: tuple[str, ...]
    until: int
    work: str


@contextmanager
def stage_ratings(store: ObjectStore, warehouse: Warehouse, until: int) -> Iterator[StagedRatings]:
    """Ratings as `read_ratings_until` returns them, of all users. One at a time: what a killed run left is deleted."""
    _clear(store)
    base = f"{BASE}/{uuid4().hex}"
    try:
        with open_snapshot(warehouse) as connection:
            manifest = find_parts(store, connection) or write_parts(store, connection)
            keys = []
            for number, block in enumerate(queries.iterate_received(connection, BLOCK_ROWS)):
                keys.append(f"{base}/received/{number:05d}.parquet")
                store.write(keys[-1], _encode(block))
        received = tuple(f"{store.url}/{key}" for key in keys)
        yield StagedRatings(tuple(manifest.list_urls(store)), received, until, f"{store.url}/{base}")
    finally:
        _clear(store)


def _encode(block: Mapping[str, np.ndarray]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    narrow = {name: pa.array(values) for name, values in block.items()}
    narrow |= {name: narrow[name].cast(pa.int32()) for name in ("user_id", "movie_id")}
    stream = io.BytesIO()
    pq.write_table(pa.table(narrow), stream, compression="snappy", store_schema=False)
    return stream.getvalue()


def _clear(store: ObjectStore) -> None:
    for key in store.list(BASE):
        store.delete(key)
