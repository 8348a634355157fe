"""What can be tested of fits on Spark without it: how users are folded in, how results are placed, what is refused."""

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from accident_reco.lifecycle.holdout import pairs_in_holdout
from accident_reco.models.movies.candidates import als, spark_biases, spark_fit, spark_job, spark_rows
from accident_reco.models.movies.candidates.biases import MOVIE_DAMPING, ROUNDS, fit_biases
from accident_reco.models.movies.candidates.trainset import IndexedRatings
from accident_reco.models.movies.data.ratings import Ratings
from accident_reco.models.movies.data.split import SplitOptions
from accident_reco.models.movies.data.staged_ratings import StagedRatings


def build_scorer(is_weighted: bool) -> als.AlsScorer:
    """Ten movies with three factors."""
    movies = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    arrays = {
        "user_bias": np.zeros(1),
        "movie_bias": np.zeros(10),
        "global_mean": np.float64(3.5),
        "genre_names": np.array(["Drama"]),
        "genre_bits": np.zeros(10, dtype=np.uint64),
        "user_factors": np.zeros((1, 3), dtype=np.float32),
        "movie_factors": movies,
        "gram": movies.T.astype(np.float64) @ movies,
        "option_regularization": np.float64(2.0),
        "option_alpha": np.float64(5.0),
    }
    return als.AlsScorer(arrays | ({"option_is_weighted": np.float64(1)} if is_weighted else {}))


@pytest.mark.parametrize(("is_weighted", "times"), [(False, 1), (True, 4)])
def test_the_regularisation_of_a_user_folded_in(is_weighted: bool, times: int) -> None:
    """Multiplied by the number of ratings where the fit did so; the solution is that of the normal equations."""
    scorer = build_scorer(is_weighted)
    movie, rating = np.array([0, 3, 5, 9]), np.array([5.0, 1.0, 3.0, 4.5], dtype=np.float32)
    near = scorer.movie_factors[movie].astype(np.float64)
    weight = 5.0 * np.array([3.0, 0.25, 1.0, 2.5])
    everything = scorer.movie_factors.astype(np.float64)
    system = everything.T @ everything + (near.T * (weight - 1)) @ near + 2.0 * times * np.eye(3)
    assert scorer.fold_in(movie, rating).vector == pytest.approx(np.linalg.solve(system, near.T @ weight), rel=1e-5)


def test_lists_are_measured_as_defined() -> None:
    """Seen movies are not listed; hits at places 1 and 3 of 3, one of three liked movies beyond the list."""
    movies = np.array([10, 20, 30, 40, 50]), np.array([[5.0], [4.0], [3.0], [2.0], [1.0]], dtype=np.float32)
    frame = pd.DataFrame({"features": [[1.0]], "seen": [[10]], "liked": [[20, 40, 50]]})
    (found,) = spark_job.measure_lists([frame], movies, top=3)
    ideal = 1 + 1 / np.log2(3) + 1 / 2
    assert found["ndcg"].tolist() == pytest.approx([(1 + 1 / 2) / ideal])
    assert found["recall"].tolist() == pytest.approx([2 / 3])


def test_a_result_that_lacks_users_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without factors would shift those of all users after it."""

    def run(folder: Path) -> None:
        ids, one = np.array([1, 2]), np.array([1])
        arrays = {"user_ids": ids, "movie_ids": ids, "factor_users": one, "factor_movies": ids}
        np.savez(folder / spark_job.ARRAYS, **arrays)
        (folder / spark_job.MEASURED).write_text("{}")

    monkeypatch.setattr(spark_fit, "_run", run)
    staged = StagedRatings(("s3://b/part",), (), 0, "s3://b/work")
    cluster = spark_fit.SparkCluster("local[1]", lambda: nullcontext(staged), SplitOptions(), 1460.0, 4.0, 10)
    with pytest.raises(spark_fit.SparkError, match="fitted 1 of the 2 user_ids that it read"):
        spark_fit.fit_factors(cluster, als.AlsOptions(), seed=1)


def test_biases_in_passes_are_those_of_one_machine() -> None:
    """Each partition has all rows of its users, in several batches; the sums of a movie come from both."""
    random = np.random.default_rng(0)
    pair = random.permutation(40 * 30)[:500]
    ratings = Ratings.from_columns(pair // 30, pair % 30 + 7, random.integers(1, 11, 500) / 2, np.zeros(500))
    data = IndexedRatings.from_ratings(ratings)
    expected = fit_biases(data)
    mean = float(expected["global_mean"])
    partitions = []
    for rest in range(2):
        rows = np.flatnonzero(ratings.user_id % 2 == rest)
        partitions.append([to_batch(ratings.take(some)) for some in np.array_split(rows, 3)])
    count = np.bincount(data.movie)
    bias = None
    for _ in range(ROUNDS):
        run = spark_biases.build_pass(data.movie_ids, bias, mean, of_users=False)
        found = pa.Table.from_batches([batch for part in partitions for batch in run(part)])
        bias = np.bincount(np.searchsorted(data.movie_ids, found["id"]), found["value"]) / (MOVIE_DAMPING + count)
    assert bias == pytest.approx(expected["movie_bias"], abs=1e-12)
    run = spark_biases.build_pass(data.movie_ids, bias, mean, of_users=True)
    users = pa.Table.from_batches([batch for part in partitions for batch in run(part)]).sort_by("id")
    assert users["id"].to_pylist() == data.user_ids.tolist()
    assert users["value"].to_numpy() == pytest.approx(expected["user_bias"], abs=1e-12)
    assert list(run([])) == []


def to_batch(ratings: Ratings) -> pa.RecordBatch:
    """Rows as an executor gets them."""
    types = {"user_id": pa.int32(), "movie_id": pa.int32(), "rating": pa.float32()}
    columns = [pa.array(getattr(ratings, name)).cast(kind) for name, kind in types.items()]
    return pa.RecordBatch.from_arrays(columns, names=list(types))


def test_what_executors_run_needs_no_package_of_ours(tmp_path: Path) -> None:
    """The pass that marks the holdout and that of the biases run where neither the platform nor Spark's driver is."""
    cloudpickle = pytest.importorskip("pyspark.cloudpickle")

    class Rows:
        def mapInArrow(self, mark: object, schema: str) -> object:  # as Spark's frames name it
            return mark

    user, movie = np.arange(1, 201, dtype=np.int32), np.arange(201, 401, dtype=np.int32)
    sent = [
        spark_rows.mark_holdout(Rows(), 0.3),
        spark_biases.build_pass(np.arange(201, 401), None, 3.0, of_users=True),
    ]
    batch = to_batch(Ratings.from_columns(user, movie, np.full(200, 3.0), np.zeros(200)))
    (tmp_path / "sent").write_bytes(cloudpickle.dumps((sent, batch)))
    script = f"""
import pickle, sys
sys.modules["accident_reco"] = None
(mark, measure), batch = pickle.loads(open({str(tmp_path / "sent")!r}, "rb").read())
(marked,), (users,) = mark([batch]), measure([batch])
print(*(int(held) for held in marked.column("holdout").to_pylist()), users.num_rows)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [*(str(int(held)) for held in pairs_in_holdout(user, movie, 0.3)), "200"]
