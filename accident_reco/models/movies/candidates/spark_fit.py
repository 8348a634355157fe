"""Fits the factors of `als` on a Spark cluster: starts `spark_job` and reads what it wrote. Imports no Spark.

The objective is that of `als` but for the regularisation, which MLlib multiplies by the number of ratings of a user or
movie (Zhou, Wilkinson, Schreiber and Pan 2008), so that one value suits every amount of data.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from accident_reco.models.movies.candidates import spark_job
from accident_reco.models.movies.candidates.spark_job import Job
from accident_reco.models.movies.data.rating_totals import RatingTotals

if TYPE_CHECKING:
    from accident_reco.models.movies.candidates.als import AlsOptions
    from accident_reco.models.movies.data.split import SplitOptions
    from accident_reco.models.movies.data.staged_ratings import StagedRatings


REGULARIZATION: Final = 0.8


class SparkError(RuntimeError):
    """Spark cannot start, or did not finish; its output has the reason."""


@dataclass(frozen=True)
class SparkCluster:
    """Where to fit, and on what.

    Args:
        master: Spark's master URL.
        stage: makes all ratings readable for the cluster while its context lasts.
        split: the same rows are held out, and left out, as on one machine.
        half_life_days: half-life of a rating in the totals.
        liked, top: stars from which a holdout rating is a hit, and length of the evaluated lists.
    """

    master: str
    stage: Callable[[], AbstractContextManager[StagedRatings]]
    split: SplitOptions
    half_life_days: float
    liked: float
    top: int


@dataclass(frozen=True)
class SparkFactors:
    """What a cluster computed of all ratings outside of the holdout.

    Args:
        totals: of the rows; the arrays are over its users and movies.
        users, movies: factors, float32.
        biases: `user_bias`, `movie_bias` and `global_mean`, as `biases.fit_biases`.
        measured: metrics of all users of the holdout.
    """

    totals: RatingTotals
    users: np.ndarray
    movies: np.ndarray
    biases: Mapping[str, np.ndarray]
    measured: Mapping[str, float]


def fit_factors(cluster: SparkCluster, own: AlsOptions, seed: int) -> SparkFactors:
    """Split, fit and evaluate on the cluster. Blocks; the step's output has Spark's.

    Raises:
        SparkError: Java is missing, or the job failed.
        ValueError: a rating's confidence is that of an unrated movie or less, which MLlib cannot express.
    """
    from accident_reco.models.movies.candidates.als import DISLIKED

    if own.alpha * DISLIKED <= 1:
        raise ValueError(f"alpha = {own.alpha}: on Spark it must be above {1 / DISLIKED:g}")
    with cluster.stage() as staged, tempfile.TemporaryDirectory(prefix="accident-reco-spark-") as folder:
        (Path(folder) / spark_job.FILE).write_text(json.dumps(asdict(build_job(cluster, staged, own, seed))))
        _run(Path(folder))
        measured = json.loads((Path(folder) / spark_job.MEASURED).read_text())
        with np.load(Path(folder) / spark_job.ARRAYS, allow_pickle=False) as found:
            return _read(found, measured)


def build_job(cluster: SparkCluster, staged: StagedRatings, own: AlsOptions, seed: int) -> Job:
    """What Spark gets: URLs by the names of its connectors, and every number that shapes the fit."""
    from accident_reco.models.movies.candidates.als import DISLIKED, NEUTRAL

    return Job(
        master=cluster.master,
        parts=_name_for_spark(staged.parts),
        received=_name_for_spark(staged.received),
        received_until=staged.until,
        work=_name_for_spark([staged.work])[0],
        **asdict(cluster.split),
        half_life_days=cluster.half_life_days,
        factors=own.factors,
        iterations=own.iterations,
        regularization=REGULARIZATION,
        alpha=own.alpha,
        offset=NEUTRAL,
        floor=DISLIKED,
        seed=seed,
        liked=cluster.liked,
        top=cluster.top,
    )


def _name_for_spark(urls: Sequence[str]) -> list[str]:
    return [url.replace("s3://", "s3a://", 1) for url in urls]


def _read(found: Mapping[str, np.ndarray], measured: Mapping[str, float]) -> SparkFactors:
    """The job's result: its factors must be of the users and movies that it counted, in their order."""
    for ids, factors in (("user_ids", "factor_users"), ("movie_ids", "factor_movies")):
        if not np.array_equal(found[ids], found[factors]):
            raise SparkError(f"Spark fitted {len(found[factors]):,} of the {len(found[ids]):,} {ids} that it read")
    totals = RatingTotals(*(found[field.name] for field in fields(RatingTotals)))
    biases = {name: found[name] for name in ("user_bias", "movie_bias", "global_mean")}
    return SparkFactors(totals, found["user_factors"], found["movie_factors"], biases, measured)


def _run(folder: Path) -> None:
    home = os.environ.get("JAVA_HOME")
    if shutil.which(str(Path(home) / "bin" / "java") if home else "java") is None:
        raise SparkError("Spark needs Java 17 or 21; fix: apt-get install --no-install-recommends default-jre-headless")
    spec = find_spec("pyspark")
    assert spec is not None  # the setting requires it
    assert spec.origin is not None
    environ = {"SPARK_HOME": str(Path(spec.origin).parent), "PYSPARK_PYTHON": sys.executable} | os.environ
    # The pipe is for its end alone: it closes when this process ends, however it does.
    with subprocess.Popen(
        [sys.executable, "-m", spark_job.__name__, str(folder)], env=environ, stdin=subprocess.PIPE
    ) as process:
        code = process.wait()
    if code != 0:
        raise SparkError(f"Spark's job ended with exit code {code}; see the output of the step")
