"""Reads, splits and counts ratings on a cluster: row for row what `data.split` computes on one machine.

The driver holds arrays over users and movies, never ratings. Executors need numpy and pyarrow, but not this package.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from accident_reco.lifecycle import holdout
from accident_reco.models.movies.data.rating_totals import DAY_SECONDS, RatingTotals
from accident_reco.models.movies.data.ratings import RATING_COLUMNS

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

    from accident_reco.models.movies.candidates.spark_job import Job

PAIR: Final = ["user_id", "movie_id"]
OF_PARTS: Final = "user_id int, movie_id int, rating float, rated_at long"
OF_RECEIVED: Final = f"{OF_PARTS}, simulated boolean, received_at long"
SCHEMA: Final = f"{OF_PARTS}, simulated boolean, holdout boolean"


@dataclass(frozen=True)
class SparkSplit:
    """The two parts of the split, with the columns of `SCHEMA`, and the ids of the training rows, ascending (int64).

    All rows of a user are in one partition.
    """

    train: DataFrame
    holdout: DataFrame
    user_ids: np.ndarray
    movie_ids: np.ndarray


def split(session: SparkSession, job: Job) -> SparkSplit:
    """Split all ratings as `data.split.split` does."""
    # With their number stated, Spark leaves the partitions as they are.
    by_user = read(session, job).repartition(int(str(session.conf.get("spark.sql.shuffle.partitions"))), "user_id")
    stored = mark_holdout(by_user, job.holdout_share).persist()
    rest = stored.where("not holdout")
    few = {name: np.zeros(0, dtype=np.int64) for name in PAIR}
    while True:
        # Always from the stored rows: a lost executor costs their partitions, not all rounds before.
        train = rest
        for name in PAIR:
            train = drop_ids(session, train, name, few[name])
        counts = count_by_id(train)
        found = {
            "user_id": _list_few(counts["user_id"], job.min_user_ratings),
            "movie_id": _list_few(counts["movie_id"], job.min_movie_ratings),
        }
        if not any(map(len, found.values())):
            held = stored.where("holdout and not simulated")
            return SparkSplit(train, held, *(np.sort(counts[name][0]) for name in PAIR))
        few = {name: np.concatenate([few[name], found[name]]) for name in PAIR}


def read(session: SparkSession, job: Job) -> DataFrame:
    """All ratings with `simulated`: those of the parts, and what the API received in place of them or in addition."""
    from pyspark.sql import functions as F

    rows = session.read.schema(OF_PARTS).parquet(*job.parts)
    if not job.received:
        return rows.withColumn("simulated", F.lit(False))
    received = session.read.schema(OF_RECEIVED).parquet(*job.received)
    rows = rows.join(received.select(*PAIR), PAIR, "left_anti").withColumn("simulated", F.lit(False))
    counted = received.where(F.col("received_at") <= job.received_until)
    return rows.unionByName(counted.select(*RATING_COLUMNS, "simulated"))


def mark_holdout(rows: DataFrame, share: float) -> DataFrame:
    """Add `holdout`: numpy's hash of the pair, computed by the executors."""
    from pyspark import cloudpickle

    # Sent as code, not by name: executors do not have this package.
    cloudpickle.register_pickle_by_value(holdout)
    choose = holdout.pairs_in_holdout

    def mark(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        for batch in batches:
            user, movie = (batch.column(name).to_numpy() for name in ("user_id", "movie_id"))
            columns = [*batch.columns, pa.array(choose(user, movie, share))]
            yield pa.RecordBatch.from_arrays(columns, names=[*batch.schema.names, "holdout"])

    return rows.mapInArrow(mark, SCHEMA)


def drop_ids(session: SparkSession, rows: DataFrame, name: str, ids: np.ndarray) -> DataFrame:
    """Rows whose id is not one of these."""
    import pyarrow as pa
    from pyspark.sql import functions as F

    if not len(ids):
        return rows
    dropped = session.createDataFrame(pa.table({name: pa.array(ids, pa.int32())}))
    return rows.join(F.broadcast(dropped), name, "left_anti")


def count_by_id(rows: DataFrame) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Ids and numbers of rows of every user and of every movie."""
    from pyspark.sql import functions as F

    users, movies = (
        rows.groupBy(F.col(name).alias("id")).agg(F.count("*").alias("rows")).withColumn("of", F.lit(name))
        for name in PAIR
    )
    table = users.unionAll(movies).toArrow()
    ids, number = (table[name].to_numpy().astype(np.int64) for name in ("id", "rows"))
    of_user = table["of"].to_numpy() == "user_id"
    return {"user_id": (ids[of_user], number[of_user]), "movie_id": (ids[~of_user], number[~of_user])}


def _list_few(counts: tuple[np.ndarray, np.ndarray], minimum: int) -> np.ndarray:
    ids, number = counts
    return ids[number < minimum]


def compute_totals(rows: SparkSplit, half_life_days: float) -> tuple[RatingTotals, float]:
    """`RatingTotals` of the training rows, and their mean of stars."""
    from pyspark.sql import functions as F

    newest, mean = rows.train.agg(F.max("rated_at"), F.avg("rating")).collect()[0]
    weight = F.pow(F.lit(2.0), (F.col("rated_at") - newest) / DAY_SECONDS / half_life_days)
    weighted = rows.train.select("movie_id", weight.alias("weight"), (weight * F.col("rating")).alias("stars"))
    sums = F.count("*").alias("count"), F.sum("weight").alias("weight"), F.sum("stars").alias("stars")
    return RatingTotals(rows.user_ids, *collect_by_id(weighted.groupBy("movie_id").agg(*sums)).values()), mean


def collect_by_id(rows: DataFrame) -> dict[str, np.ndarray]:
    """Columns of rows, by the first of them, ascending. Sorted here: a cluster would read the rows twice for it."""
    table = rows.toArrow()
    columns = {name: table[name].to_numpy() for name in table.column_names}
    order = np.argsort(table[0].to_numpy())
    return {name: values[order] for name, values in columns.items()}
