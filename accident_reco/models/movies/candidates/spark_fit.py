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
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import numpy as np

from accident_reco.models.movies.candidates import spark_job
from accident_reco.models.movies.candidates.spark_job import Job

if TYPE_CHECKING:
    from accident_reco.models.movies.candidates.als import AlsOptions
    from accident_reco.models.movies.candidates.trainset import IndexedRatings


REGULARIZATION: Final = 0.8


class SparkError(RuntimeError):
    """Spark cannot start, or did not finish; its output has the reason."""


@dataclass(frozen=True)
class SparkCluster:
    """Where to fit.

    Args:
        master: Spark's master URL.
        ratings: URL of the split's Parquet, as the store names it.
        work: URL of a folder for what fits write while they run.
        liked, top: stars from which a holdout rating is a hit, and length of the evaluated lists.
    """

    master: str
    ratings: str
    work: str
    liked: float
    top: int


@dataclass(frozen=True)
class SparkFactors:
    """Factors over the users and movies of the ratings, float32, and what Spark measured."""

    users: np.ndarray
    movies: np.ndarray
    measured: Mapping[str, float]


def fit_factors(cluster: SparkCluster, data: IndexedRatings, own: AlsOptions, seed: int) -> SparkFactors:
    """Fit on the cluster and evaluate there. Blocks; the step's output has Spark's.

    Raises:
        SparkError: Java is missing, or the job failed.
        ValueError: a rating's confidence is that of an unrated movie or less, which MLlib cannot express.
    """
    from accident_reco.models.movies.candidates.als import DISLIKED, NEUTRAL

    if own.alpha * DISLIKED <= 1:
        raise ValueError(f"alpha = {own.alpha}: on Spark it must be above {1 / DISLIKED:g}")
    job = Job(
        cluster.master,
        cluster.ratings.replace("s3://", "s3a://", 1),
        f"{cluster.work}/{uuid4().hex}".replace("s3://", "s3a://", 1),
        own.factors,
        own.iterations,
        REGULARIZATION,
        own.alpha,
        NEUTRAL,
        DISLIKED,
        seed,
        cluster.liked,
        cluster.top,
    )
    with tempfile.TemporaryDirectory(prefix="accident-reco-spark-") as folder:
        (Path(folder) / spark_job.FILE).write_text(json.dumps(asdict(job)))
        _run(Path(folder))
        measured = json.loads((Path(folder) / spark_job.MEASURED).read_text())
        with np.load(Path(folder) / spark_job.FACTORS, allow_pickle=False) as found:
            users = _place(found["user_id"], found["user_factors"], data.user_ids)
            movies = _place(found["movie_id"], found["movie_factors"], data.movie_ids)
    return SparkFactors(users, movies, measured)


def _place(ids: np.ndarray, factors: np.ndarray, expected: np.ndarray) -> np.ndarray:
    if not np.array_equal(ids, expected):
        raise SparkError(f"Spark read {len(ids):,} users or movies, not the {len(expected):,} of the split")
    return np.ascontiguousarray(factors, dtype=np.float32)


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
