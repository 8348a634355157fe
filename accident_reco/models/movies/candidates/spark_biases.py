"""Biases of users and movies on a cluster: what `biases.fit_biases` computes on one machine, to the last digits.

Rows of a user are in one partition, so that one pass finds the biases of users and the sums for those of movies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

import numpy as np

from accident_reco.models.movies.candidates.biases import MOVIE_DAMPING, ROUNDS, USER_DAMPING
from accident_reco.models.movies.candidates.spark_rows import collect_by_id
from accident_reco.models.movies.data.rating_totals import RatingTotals

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

SCHEMA: Final = "id int, value double"


def fit_biases(train: DataFrame, totals: RatingTotals, mean: float) -> dict[str, np.ndarray]:
    """`user_bias`, `movie_bias` (float64) and `global_mean` of the rows, from their totals and mean of stars.

    Raises:
        RuntimeError: the rows of some user were in several partitions.
    """
    from pyspark.sql import functions as F

    def fit_movies(former: np.ndarray | None) -> np.ndarray:
        residuals = train.mapInArrow(build_pass(totals.movie_ids, former, mean, of_users=False), SCHEMA)
        sums = collect_by_id(residuals.groupBy("id").agg(F.sum("value").alias("value")))
        fitted: np.ndarray = sums["value"] / (MOVIE_DAMPING + totals.count)
        return fitted

    movie_bias = fit_movies(None)
    for _ in range(ROUNDS - 1):
        movie_bias = fit_movies(movie_bias)
    users = collect_by_id(train.mapInArrow(build_pass(totals.movie_ids, movie_bias, mean, of_users=True), SCHEMA))
    if not np.array_equal(users["id"], totals.user_ids):
        raise RuntimeError(
            f"{len(users['id']):,} biases of {len(totals.user_ids):,} users: their rows are not together"
        )
    return {"user_bias": users["value"], "movie_bias": movie_bias, "global_mean": np.array(mean)}


def build_pass(
    movie_ids: np.ndarray, movie_bias: np.ndarray | None, mean: float, *, of_users: bool
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """A pass over one partition: the users' biases, or the sums over each movie's ratings of what these leave.

    Args:
        movie_bias: of the pass before; None: the users' biases are 0.
    """

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        columns = [[batch.column(name).to_numpy() for name in ("user_id", "movie_id", "rating")] for batch in batches]
        if not columns:
            return
        user, movie, rating = (np.concatenate(parts) for parts in zip(*columns, strict=True))
        stars = rating.astype(np.float64) - mean
        ids, nth, number = np.unique(user, return_inverse=True, return_counts=True)
        values: np.ndarray = np.zeros(len(ids))
        if movie_bias is not None:
            values = np.bincount(nth, stars - movie_bias[np.searchsorted(movie_ids, movie)]) / (USER_DAMPING + number)
        if not of_users:
            left = stars - values[nth]
            ids, nth = np.unique(movie, return_inverse=True)
            values = np.bincount(nth, left)
        yield pa.RecordBatch.from_arrays([pa.array(ids, pa.int32()), pa.array(values)], names=["id", "value"])

    return run
