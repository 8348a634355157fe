"""What can be tested of fits on Spark without it: how users are folded in, how results are placed, what is refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from accident_reco.models.movies.candidates import als, spark_fit, spark_job
from accident_reco.models.movies.candidates.trainset import IndexedRatings


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


def test_a_result_of_other_rows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The split was replaced while Spark read it: its factors are of other users."""

    def run(folder: Path) -> None:
        factors = np.zeros((2, 1), dtype=np.float32)
        ids = np.array([1, 2])
        arrays = {"user_id": ids, "user_factors": factors, "movie_id": ids, "movie_factors": factors}
        np.savez(folder / spark_job.FACTORS, **arrays)
        (folder / spark_job.MEASURED).write_text("{}")

    monkeypatch.setattr(spark_fit, "_run", run)
    data = IndexedRatings(*(np.array([1]) for _ in range(5)))
    cluster = spark_fit.SparkCluster("local[1]", "file:///split", "file:///work", 4.0, 10)
    with pytest.raises(spark_fit.SparkError, match="read 2 users or movies, not the 1 of the split"):
        spark_fit.fit_factors(cluster, data, als.AlsOptions(), seed=1)
