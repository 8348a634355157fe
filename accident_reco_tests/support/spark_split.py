"""Splits ratings on Spark as the job does, and writes the rows of both parts: a program, since a JVM ends with its own.

Run: python -m accident_reco_tests.support.spark_split FOLDER, where FOLDER has the job's `job.json`
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from accident_reco.models.movies.candidates import spark_job, spark_rows
from accident_reco.models.movies.data.ratings import RATING_COLUMNS

PARTS = "parts.npz"


def main() -> None:
    """Write `train_<column>` and `holdout_<column>`, by user and movie, `train_simulated`, and the ids."""
    from pyspark.sql import SparkSession

    folder = Path(sys.argv[1])
    job = spark_job.Job(**json.loads((folder / spark_job.FILE).read_text()))
    session = SparkSession.builder.master(job.master).getOrCreate()
    found = spark_rows.split(session, job)
    arrays = {"user_ids": found.user_ids, "movie_ids": found.movie_ids}
    for part in ("train", "holdout"):
        table = getattr(found, part).sort(*spark_rows.PAIR).toArrow()
        arrays |= {f"{part}_{name}": table[name].to_numpy() for name in (*RATING_COLUMNS, "simulated")}
    session.stop()
    np.savez(folder / PARTS, **arrays)


if __name__ == "__main__":
    main()
