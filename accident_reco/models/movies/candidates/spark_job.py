"""Splits ratings, fits factors by MLlib and evaluates them on the Spark of `SPARK_MASTER`; `spark_fit` starts it.

Run: python -m accident_reco.models.movies.candidates.spark_job FOLDER

FOLDER has `job.json` (a `Job`); the results are `arrays.npz` and `measured.json` beside it. The driver keeps arrays
over users and movies, never ratings. Spark's own configuration is its `spark-defaults.conf`; what only a cluster knows
is set there.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from accident_reco.models.movies.candidates import spark_biases, spark_rows

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame, SparkSession

    from accident_reco.models.movies.candidates.spark_rows import SparkSplit

FILE: Final = "job.json"
ARRAYS: Final = "arrays.npz"
MEASURED: Final = "measured.json"
# What an executor lost is computed again from the last checkpoint. From the beginning, the description of that work
# is nested deeper than the stack of Java's threads, and the job fails.
CHECKPOINT_ITERATIONS: Final = 3


@dataclass(frozen=True)
class Job:
    """What to fit.

    Args:
        parts, received, received_until: as in `StagedRatings`; every executor reads the URLs.
        work: URL of a folder that every executor writes; deleted at the end.
        min_user_ratings, min_movie_ratings, holdout_share: as in `SplitOptions`.
        half_life_days: of a rating in the totals.
        alpha, offset, floor: a rating's confidence is `alpha` times the larger of `floor` and rating minus `offset`.
        regularization: MLlib's, which it multiplies by the number of ratings of the user or movie.
        liked, top: stars from which a holdout rating is a hit, and length of the lists.
    """

    master: str
    parts: list[str]
    received: list[str]
    received_until: int
    work: str
    min_user_ratings: int
    min_movie_ratings: int
    holdout_share: float
    half_life_days: float
    factors: int
    iterations: int
    regularization: float
    alpha: float
    offset: float
    floor: float
    seed: int
    liked: float
    top: int


def main() -> None:
    """Run the job of a folder."""
    folder = Path(sys.argv[1])
    job = Job(**json.loads((folder / FILE).read_text()))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from pyspark.sql import SparkSession

    session = SparkSession.builder.appName("accident_reco: movies/ranking_model").master(job.master).getOrCreate()
    context = session.sparkContext
    context.setCheckpointDir(f"{job.work}/checkpoints")
    try:
        arrays, measured = run(session, job)
    finally:
        jvm: Any = context._jvm
        work = jvm.org.apache.hadoop.fs.Path(job.work)
        work.getFileSystem(context._jsc.hadoopConfiguration()).delete(work, True)
        session.stop()
    np.savez(folder / ARRAYS, allow_pickle=False, **arrays)
    (folder / MEASURED).write_text(json.dumps(measured))


def run(session: SparkSession, job: Job) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Arrays over the users and movies of the training rows, and the ranking metrics of all users with a hit in the
    holdout.

    The arrays are those of `RatingTotals` and of `fit_biases`, and `user_factors` and `movie_factors` with their ids
    `factor_users` and `factor_movies`.
    """
    rows = spark_rows.split(session, job)
    totals, mean = spark_rows.compute_totals(rows, job.half_life_days)
    arrays = {**vars(totals), **spark_biases.fit_biases(rows.train, totals, mean)}
    user_factors, item_factors = fit(session, rows.train, job)
    movies = _collect(item_factors)
    measured = _evaluate(session, rows, user_factors, movies, job)
    users = _collect(user_factors)
    arrays |= {"factor_users": users[0], "user_factors": users[1]}
    return arrays | {"factor_movies": movies[0], "movie_factors": movies[1]}, measured


def fit(session: SparkSession, train: DataFrame, job: Job) -> tuple[DataFrame, DataFrame]:
    """Factors of users and of movies."""
    from pyspark.ml.recommendation import ALS
    from pyspark.sql import functions as F

    # More blocks than cores only move more factors; fewer leave cores without work.
    blocks = session.sparkContext.defaultParallelism
    # MLlib adds 1 to what it gets, the confidence of a pair that nobody rated.
    above = F.greatest(F.col("rating") - job.offset, F.lit(job.floor)) * job.alpha - 1
    als = ALS(
        userCol="user_id",
        itemCol="movie_id",
        ratingCol="above",
        implicitPrefs=True,
        alpha=1.0,
        rank=job.factors,
        maxIter=job.iterations,
        regParam=job.regularization,
        seed=job.seed,
        numUserBlocks=blocks,
        numItemBlocks=blocks,
        checkpointInterval=CHECKPOINT_ITERATIONS,
    )
    model = als.fit(train.select("user_id", "movie_id", above.cast("float").alias("above")))
    return model.userFactors, model.itemFactors


def _collect(factors: DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Ids, ascending, and their factors."""
    table = factors.toArrow()
    ids = table["id"].to_numpy()
    values = table["features"].combine_chunks().flatten().to_numpy().reshape(len(ids), -1)
    order = np.argsort(ids)
    return ids[order], values[order]


def _evaluate(
    session: SparkSession,
    split: SparkSplit,
    user_factors: DataFrame,
    movies: tuple[np.ndarray, np.ndarray],
    job: Job,
) -> dict[str, float]:
    """NDCG and recall of the lists of every user, computed by the executors; the definitions are those of `metrics`."""
    from pyspark.sql import functions as F

    shared = session.sparkContext.broadcast(movies)
    top = job.top
    seen = split.train.groupBy("user_id").agg(F.collect_list("movie_id").alias("seen"))
    liked = (
        split.holdout.where(F.col("rating") >= job.liked)
        .groupBy("user_id")
        .agg(F.collect_list("movie_id").alias("liked"))
    )
    rows = liked.join(seen, "user_id").join(user_factors.withColumnRenamed("id", "user_id"), "user_id")

    def measure(frames: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        yield from measure_lists(frames, shared.value, top)

    measured = rows.mapInPandas(measure, "ndcg double, recall double")
    (found,) = measured.agg(F.avg("ndcg"), F.avg("recall"), F.count("*")).collect()
    return {f"ndcg_at_{top}": found[0], f"recall_at_{top}": found[1], "users": found[2]}


def measure_lists(
    frames: Iterable[pd.DataFrame], movies: tuple[np.ndarray, np.ndarray], top: int
) -> Iterator[pd.DataFrame]:
    """NDCG and recall of users, frame by frame, with `seen` and `liked` movies and `features`."""
    import pandas as pd

    movie_id, factors = movies
    discount = 1 / np.log2(np.arange(2, top + 2))
    for frame in frames:
        values: dict[str, list[float]] = {"ndcg": [], "recall": []}
        for features, seen, liked in zip(frame["features"], frame["seen"], frame["liked"], strict=True):
            score = factors @ np.asarray(features, dtype=np.float32)
            score[np.searchsorted(movie_id, np.asarray(seen))] = -np.inf
            best = np.argpartition(-score, min(top, len(score) - 1))[:top]
            best = best[np.lexsort((best, -score[best]))]
            hits = np.isin(movie_id[best], liked)
            values["ndcg"].append(float((hits * discount[: len(best)]).sum() / discount[: min(top, len(liked))].sum()))
            values["recall"].append(float(hits.sum() / len(liked)))
        yield pd.DataFrame(values)


def _end_with_parent() -> None:
    """End when the step that waits for this program is gone: its end of the pipe closes, and Spark follows."""
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    main()
