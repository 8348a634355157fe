"""Item weights against what defines them: closed form, elastic net, pruning, the inner split that tunes them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sparse
from sklearn.linear_model import ElasticNet

from accident_reco.lifecycle.holdout import pairs_in_holdout
from accident_reco.models.movies.candidates import als, ease, hybrid, inner_split, slim, stack
from accident_reco.models.movies.candidates.als import AlsOptions
from accident_reco.models.movies.candidates.candidate import FitOptions
from accident_reco.models.movies.candidates.ease import ClosedForm, EaseChoice, EaseOptions
from accident_reco.models.movies.candidates.item_weights import encode_ratings, prune_weights
from accident_reco.models.movies.candidates.slim import SlimOptions
from accident_reco.models.movies.candidates.stack import StackOptions
from accident_reco.models.movies.candidates.trainset import IndexedRatings
from accident_reco.models.movies.training import candidate_training
from accident_reco.models.movies.training.candidate_training import TrainingOptions, TrainingRows


@pytest.fixture(scope="module")
def data(sample_rows: TrainingRows) -> IndexedRatings:
    return IndexedRatings.from_ratings(sample_rows.train)


@pytest.fixture(scope="module")
def split(data: IndexedRatings) -> inner_split.InnerSplit:
    return inner_split.split_rows(data)


@pytest.mark.parametrize("shape", [(80, 30), (30, 80)], ids=["more users", "more movies"])
def test_closed_form_is_the_constrained_ridge(shape: tuple[int, int]) -> None:
    """Each column is the ridge regression of a movie on all others, by either of the two ways."""
    inputs = sparse.random(*shape, 0.3, random_state=1, format="csr")
    solution = ClosedForm(inputs, 3.0)
    weights = np.vstack([rows for _, rows in solution.iterate_weights()])
    dense = inputs.toarray()
    for movie in (0, 7, 29):
        others = np.delete(np.arange(shape[1]), movie)
        system = dense[:, others].T @ dense[:, others] + 3.0 * np.eye(len(others))
        expected = np.linalg.solve(system, dense[:, others].T @ dense[:, movie])
        assert weights[others, movie] == pytest.approx(expected, abs=1e-10)
        assert weights[movie, movie] == 0
    assert solution.score(inputs) == pytest.approx(dense @ weights, abs=1e-10)


def test_blocks_of_rows_are_one_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    """The diagonal is cleared in every block, not in the first alone."""
    inputs = sparse.random(50, 40, 0.3, random_state=1, format="csr")
    whole = np.vstack([rows for _, rows in ClosedForm(inputs, 2.0).iterate_weights()])
    monkeypatch.setattr(ease, "ROWS_AT_ONCE", 7)
    parts = list(ClosedForm(inputs, 2.0).iterate_weights())
    assert [first for first, _ in parts] == [0, 7, 14, 21, 28, 35]
    assert np.vstack([rows for _, rows in parts]) == pytest.approx(whole, abs=1e-12)
    assert (np.diag(whole) == 0).all()


def test_slim_is_scikit_learns_elastic_net() -> None:
    """Coordinate descent over many movies at once gives the solution of one regression per movie."""
    dense = sparse.random(120, 40, 0.4, random_state=2).toarray().astype(np.float32)
    gram = dense.T @ dense
    movie = np.arange(40)
    near = slim.select_neighbours(gram, movie, 39)
    l1, l2 = 0.5, 2.0
    weight = slim.descend(gram, movie, near, l1, l2)
    assert 0 < np.count_nonzero(weight) < weight.size / 2
    for one in (0, 13, 39):
        # scikit-learn divides the squared error by twice the number of rows.
        net = ElasticNet(
            alpha=(l1 + l2) / 120,
            l1_ratio=l1 / (l1 + l2),
            positive=True,
            fit_intercept=False,
            tol=1e-10,
            max_iter=10_000,
        )
        net.fit(dense[:, near[one]].astype(np.float64), dense[:, one])
        assert weight[one] == pytest.approx(net.coef_, abs=1e-3)


def test_neighbours_are_the_most_similar_and_never_the_movie_itself() -> None:
    """By cosine, so that a popular movie is not a neighbour of all."""
    dense = np.array([[1, 1, 0, 5], [1, 1, 0, 5], [0, 0, 1, 5], [0, 0, 1, 5.0]], dtype=np.float32)
    near = slim.select_neighbours(dense.T @ dense, np.arange(4), 1)
    assert near[:3, 0].tolist() == [1, 0, 3]
    assert slim.select_neighbours(dense.T @ dense, np.arange(4), 9).shape == (4, 3)


@pytest.mark.parametrize(
    ("method", "expected"),
    [("binary", [1, 1, 1, 1]), ("stars", [0.1, 0.4, 0.7, 1.0]), ("confidence", [1 / 12, 1 / 12, 0.5, 1.0])],
)
def test_what_ratings_count_as(method: str, expected: list[float]) -> None:
    """Half a star, two, three and a half, five."""
    assert encode_ratings(np.array([0.5, 2, 3.5, 5], dtype=np.float32), method) == pytest.approx(expected)


def test_pruning_keeps_the_greatest_of_all_blocks() -> None:
    """One bound for the whole matrix, negative weights too; nothing is lost where all fit."""
    dense = np.random.default_rng(3).normal(size=(30, 30))
    np.fill_diagonal(dense, 0)
    blocks = [(first, dense[first : first + 8]) for first in range(0, 30, 8)]
    kept = prune_weights(iter(blocks), 30, 100).toarray()
    bound = np.sort(np.abs(dense).ravel())[-100]
    assert kept == pytest.approx(np.where(np.abs(dense) >= bound, dense, 0), abs=1e-6)
    assert prune_weights(iter(blocks), 30, 10_000).toarray() == pytest.approx(dense, abs=1e-6)


def test_the_inner_split_holds_out_training_rows(data: IndexedRatings, split: inner_split.InnerSplit) -> None:
    """Known and held-out rows are apart, by another hash than the frozen holdout's; the same rows, the same split."""
    assert 0.75 < len(split.known) / len(data) < 0.85
    seen, liked = split.seen.toarray() > 0, split.liked.toarray() > 0
    assert not (seen & liked).any()
    assert liked.any(axis=1).all()
    user, movie = data.user_ids[data.user], data.movie_ids[data.movie]
    held = pairs_in_holdout(user, movie, inner_split.SHARE, inner_split.SALT)
    assert len(split.known) == (~held).sum()
    # Independent of the frozen holdout: of its share of any rows a fifth is held out here.
    ids = np.arange(1, 20_001)
    frozen, inner = (pairs_in_holdout(ids, ids + 7, 0.2, *salt) for salt in ((), (inner_split.SALT,)))
    assert inner[frozen].mean() == pytest.approx(0.2, abs=0.03)


def test_ndcg_of_the_inner_split(split: inner_split.InnerSplit) -> None:
    """The liked movies first are a perfect order; known movies are never in it."""
    liked = split.liked.toarray()
    assert split.measure(liked) == pytest.approx(1.0)
    assert split.measure(liked + 10 * split.seen.toarray()) == pytest.approx(1.0)
    assert split.measure(-liked) < 0.1


def test_users_of_the_inner_split_are_bounded(data: IndexedRatings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is users by movies: of many movies fewer users are ranked."""
    monkeypatch.setattr(inner_split, "MAX_SCORES", 20 * len(data.movie_ids))
    assert len(inner_split.split_rows(data).users) == 20


def test_best_of_equal_options_is_the_first() -> None:
    """Deterministic, whatever the number of options; none is an error."""
    assert inner_split.choose_best([3, 1, 2], lambda one: float(one > 1)) == (3, 1.0)
    with pytest.raises(ValueError, match="no options"):
        inner_split.choose_best([], lambda one: 0.0)


def test_tuning_finds_the_better_options(split: inner_split.InnerSplit) -> None:
    """A ridge and penalties far off are not chosen where sensible ones are offered."""
    chosen = ease.choose_options(split, EaseOptions(("binary", "stars"), (0.0,), (1e6, 100.0)))
    assert chosen.regularization == 100.0
    assert chosen.input in {"binary", "stars"}
    assert slim.choose_options(split, SlimOptions(penalties=((1e5, 1.0), (0.3, 40.0)))).penalties == ((0.3, 40.0),)


def test_als_is_tuned_within_its_budget(
    data: IndexedRatings, split: inner_split.InnerSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start far off is left; with too few ratings, or beyond the budget, the values are used as they are."""
    start = AlsOptions(8, 5, regularization=2_000.0, tuning=(0.02,))
    options = FitOptions(seed=1, threads=1)
    assert als.choose_options(split, start, options).regularization == 40.0
    assert not als.is_tuned(data, start, options)
    monkeypatch.setattr(als, "MIN_TUNED", len(data))
    assert als.is_tuned(data, start, options)
    assert not als.is_tuned(data, start, FitOptions(tune=False))
    monkeypatch.setattr(als, "MAX_TUNED", len(data) - 1)
    assert not als.is_tuned(data, start, options)


def test_movies_beyond_the_dense_part_have_no_weights(data: IndexedRatings) -> None:
    """Only the most rated movies are in the matrix that is inverted."""
    weights = ease.fit_weights(data, EaseChoice("confidence", 0.0, 60.0), 50, 10_000).tocoo()
    count = np.bincount(data.movie, minlength=len(data.movie_ids))
    lowest = np.sort(count)[-50]
    assert count[weights.row].min() >= lowest
    assert len(np.unique(weights.col)) == 50


def test_a_hybrid_ranks_movies_without_weights_by_factors(sample_rows: TrainingRows, options: TrainingOptions) -> None:
    """With a dense part of a tenth of the movies every rated movie still gets a score, and pruning is measured."""
    few = EaseOptions(damping=(0.0,), regularization=(60.0,), dense_movies=20)
    small = SlimOptions(penalties=((0.3, 40.0),), neighbours=10, movies=20)
    fit = FitOptions(seed=1, threads=1, hyperparameters=(few, small, AlsOptions(8, 5, tuning=())))
    fitted = hybrid.fit(IndexedRatings.from_ratings(sample_rows.train), sample_rows.scale, fit)
    assert len(np.unique(fitted.arrays["items:weight_movie"])) <= 20
    assert fitted.pruning_loss == pytest.approx(0.0, abs=1e-6)
    # Each part, then the two weights of their sum, then the number of weights: every trial of them is recorded.
    assert len(fitted.history["trial_ndcg_at_10"]) > 5
    assert max(fitted.history["trial_ndcg_at_10"]) > 0
    untuned = hybrid.fit(
        IndexedRatings.from_ratings(sample_rows.train), sample_rows.scale, FitOptions(1, 1, False, fit.hyperparameters)
    )
    assert untuned.pruning_loss is None
    assert untuned.options["slim_weight"] == 1.0
    assert untuned.options["als_weight"] == 0.2
    assert len(fitted.arrays["als:user_factors"]) == 0
    trained = candidate_training.train_candidate("hybrid", sample_rows, TrainingOptions(fit), {"data_source": "sample"})
    assert trained.bundle.metrics["coverage"] > 0.1


def test_weights_of_the_stack_are_learnt_out_of_fold(sample_rows: TrainingRows, options: TrainingOptions) -> None:
    """The folds are those of the cross-validation, and the stack is no worse than its best part on them."""
    data = IndexedRatings.from_ratings(sample_rows.train)
    fitted = stack.fit(data, sample_rows.scale, options.fit)
    assert fitted.folds is not None
    errors = [fold["rmse"] for fold in fitted.folds]
    own = options.fit.of(StackOptions)
    parts = TrainingOptions(FitOptions(seed=1, hyperparameters=stack.build_part_options(own, len(data.movie_ids))))
    for part in stack.PARTS.values():
        folds, _ = candidate_training.cross_validate(part, data, sample_rows, parts)
        assert np.mean(errors) < np.mean([fold["rmse"] for fold in folds]) + 1e-3
    weights = [fitted.options[f"weight_{kind}"] for kind in stack.PARTS]
    assert fitted.arrays["stack_weight"].tolist() == pytest.approx(weights)


def test_neighbours_of_the_stack_shrink_with_the_catalogue() -> None:
    """The bundle stays within its size, whatever the number of movies."""
    for movies, neighbours in ((100, 800), (1_500, 800), (4_000, 300), (60_000, 20), (3_000_000, 1)):
        assert stack.build_part_options(StackOptions(), movies)[1].neighbours == neighbours
