"""Ratings as the warehouse's table has them, to compare with what the platform reads as columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sqlalchemy import select

from accident_reco.models.movies.data.tables import ratings
from accident_reco.storage.objects import LocalStore
from accident_reco.storage.warehouse import Warehouse

KINDS = {"user_id": np.int64, "movie_id": np.int64, "rating": np.float32, "rated_at": np.int64, "simulated": np.bool_}


def read_table(warehouse: Warehouse) -> dict[str, np.ndarray]:
    """Every row of the table `ratings`, by user and movie: columns of `KINDS`."""
    query = select(*(ratings.c[name] for name in KINDS)).order_by(ratings.c.user_id, ratings.c.movie_id)
    with warehouse.connect() as connection:
        rows = connection.execute(query).all()
    return {name: np.array([row[at] for row in rows], dtype=kind) for at, (name, kind) in enumerate(KINDS.items())}


def open_store_beside(warehouse: Warehouse) -> LocalStore:
    """The object store in the folder of an embedded warehouse."""
    return LocalStore(str(Path(str(warehouse.url.database)).parent / "store"))
