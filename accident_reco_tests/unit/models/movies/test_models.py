"""The candidates against their training libraries, and their quality."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from accident_reco.lifecycle.gate import Evaluation, decide
from accident_reco.lifecycle.reference import read_reference
from accident_reco.lifecycle.training_identity import SAMPLE
from accident_reco.models.movies.candidates import CANDIDATES, biases, similarity
from accident_reco.models.movies.candidates.als import AlsOptions
from accident_reco.models.movies.candidates.candidate import FitOptions
from accident_reco.models.movies.candidates.trainset import IndexedRatings, build_surprise_trainset
from accident_reco.models.movies.data.rating_totals import RatingTotals
from accident_reco.models.movies.data.ratings import Ratings
from accident_reco.models.movies.scoring.recommender import Recommender
from accident_reco.models.movies.training import candidate_training, fitting, gating, metrics
from accident_reco.models.movies.training.arrays import build_arrays
from accident_reco.models.movies.training.candidate_training import TrainingOptions, TrainingRows
from accident_reco.models.movies.training.choice import ChoiceRule
from accident_reco_tests.bench import movies_parity
from accident_reco_tests.unit.models.movies.conftest import NOW

RATING_KINDS = movies_parity.KINDS


@pytest.mark.slow
@pytest.mark.parametrize("kind", RATING_KINDS)
def test_rmse_of_surprise_itself_on_the_same_fold(real_rows: TrainingRows, kind: str) -> None:
    """Scored by numpy, the models come within ±0.003 RMSE of Surprise run directly on ml-latest-small."""
    ours, theirs = movies_parity.both(kind, real_rows, TrainingOptions(), every=4)
    # Similarities are kept for the nearest movies only; the other two are the same to the last digits.
    assert ours == pytest.approx(theirs, abs=movies_parity.TOLERANCE if kind == "knn" else 1e-6)


@pytest.mark.parametrize("kind", RATING_KINDS)
def test_scores_equal_those_of_the_fitted_surprise_object(
    sample_rows: TrainingRows, options: TrainingOptions, kind: str
) -> None:
    """Bundle arrays and numpy give what Surprise's own `predict` gives, within 1e-6, clipped alike."""
    data = IndexedRatings.from_ratings(sample_rows.train)
    fitted = fitting.fit(CANDIDATES[kind], data, sample_rows.scale, options.fit)
    version = Recommender(
        build_arrays(fitted, sample_rows.catalogue, sample_rows.train, sample_rows.scale, options.popularity)
    )
    difference = candidate_training.compute_parity(fitted, version, sample_rows, pairs=600)
    assert difference is not None
    assert difference < 1e-6


def test_similarities_are_surprises_own(sample_rows: TrainingRows, options: TrainingOptions) -> None:
    """The sparse products give `surprise.similarities.pearson_baseline`, for every pair that is similar there."""
    from surprise import KNNBaseline

    data = IndexedRatings.from_ratings(sample_rows.train)
    stock = movies_parity.stock("knn", options.fit)
    assert isinstance(stock, KNNBaseline)
    stock.fit(build_surprise_trainset(data, sample_rows.scale))
    mean = stock.trainset.global_mean
    ours = similarity.compute_similar_movies(
        data, mean, stock.bu, stock.bi, shrinkage=100, keep=10**6, block_cells=50_000
    )
    dense = np.zeros_like(stock.sim)
    row = np.repeat(np.arange(len(dense)), np.diff(ours.start))
    dense[row, ours.movie] = ours.similarity
    np.fill_diagonal(dense, 1)
    assert np.abs(dense - np.maximum(stock.sim, 0)).max() < 1e-6
    assert ours[3, 3] == 1.0
    few = similarity.compute_similar_movies(data, mean, stock.bu, stock.bi, shrinkage=100, keep=5)
    assert few[int(few.movie[0]), 0] == few[0, int(few.movie[0])] > 0
    by_many = similarity.compute_similar_movies(
        data, mean, stock.bu, stock.bi, shrinkage=100, keep=5, threads=3, block_cells=20_000
    )
    for name, values in vars(few).items():
        assert np.array_equal(getattr(by_many, name), values)


def test_movies_whose_ratings_cancel_out_are_not_similar() -> None:
    """Products that sum to exactly zero are dropped by scipy: the pairs around them keep their own similarity."""
    stars = {0: (4.0, 4.0), 1: (4.0, 2.0), 2: (5.0, 5.0)}
    data = IndexedRatings.from_ratings(
        Ratings.from_columns(
            [1, 2] * 3, np.repeat([0, 1, 2], 2), [star for two in stars.values() for star in two], [NOW] * 6
        )
    )
    ours = similarity.compute_similar_movies(data, 3.0, np.zeros(2), np.zeros(3), shrinkage=100, keep=5)
    assert ours[0, 2] == pytest.approx(1 / 101)
    assert ours[0, 1] == ours[1, 2] == 0
    alike = IndexedRatings.from_ratings(Ratings.from_columns([1, 2] * 2, [0, 0, 1, 1], [3.0] * 4, [NOW] * 4))
    assert similarity.compute_similar_movies(alike, 3.0, np.zeros(2), np.zeros(2), shrinkage=100, keep=5)[0, 1] == 0


def test_biases_are_surprises_own(sample_rows: TrainingRows, options: TrainingOptions) -> None:
    """A sum per column gives what Surprise's passes over single ratings give."""
    data = IndexedRatings.from_ratings(sample_rows.train)
    theirs = fitting.fit(CANDIDATES["baseline"], data, sample_rows.scale, options.fit).fit.arrays
    ours = biases.fit_biases(data)
    for name in ("user_bias", "movie_bias", "global_mean"):
        assert np.abs(ours[name] - theirs[name]).max() < 1e-9


def test_columnar_trainset_is_a_surprise_trainset(sample_rows: TrainingRows) -> None:
    """Same ratings, mean, ids and unknowns as the one Surprise builds from a frame."""
    from surprise import Dataset, Reader

    known = sample_rows.train
    ours = build_surprise_trainset(IndexedRatings.from_ratings(known), sample_rows.scale)
    frame = pd.DataFrame({"u": known.user_id, "i": known.movie_id, "r": known.rating.astype(float)})
    theirs = Dataset.load_from_df(frame, Reader(rating_scale=(0.5, 5))).build_full_trainset()
    assert ours.n_ratings == theirs.n_ratings
    assert ours.global_mean == pytest.approx(theirs.global_mean)
    ratings = {(ours.to_raw_uid(u), ours.to_raw_iid(i), r) for u, i, r in ours.all_ratings()}
    assert ratings == {(theirs.to_raw_uid(u), theirs.to_raw_iid(i), r) for u, i, r in theirs.all_ratings()}
    assert not ours.knows_user("UKN__x")
    with pytest.raises(ValueError, match="not part of the trainset"):
        ours.to_inner_iid(2)


def test_the_published_figures_are_met(real_rows: TrainingRows) -> None:
    """ml-latest-small: KNN about 0.86 and ALS ranking three times as well as the best of the rating models."""
    # Tuning is tested on a sample; these are the defaults that it starts from.
    options = TrainingOptions(FitOptions(hyperparameters=(AlsOptions(tuning=()),)))
    trained = {
        kind: candidate_training.train_candidate(kind, real_rows, options, {"data_source": "directory"})
        for kind in ("baseline", "als")
    }
    assert trained["baseline"].bundle.metrics["rmse"] == pytest.approx(0.874, abs=0.01)
    assert trained["als"].bundle.metrics["ndcg_at_10"] > 0.27
    assert trained["als"].bundle.metrics["ndcg_at_10"] > 3 * trained["baseline"].bundle.metrics["ndcg_at_10"]
    assert [set(fold) for fold in trained["als"].folds] == [{"rmse", "mae"}] * 3


def test_a_sample_is_learnable_and_training_repeats_itself(sample_rows: TrainingRows, options: TrainingOptions) -> None:
    """Candidates beat popularity on generated data; the same rows and seed give the same version, byte for byte."""
    candidates = {
        kind: candidate_training.train_candidate(kind, sample_rows, options, {"data_source": "sample"}).bundle
        for kind in CANDIDATES
    }
    again = candidate_training.train_candidate(
        "als", sample_rows, options, {"data_source": "sample", "other": 1}
    ).bundle
    assert again.version == candidates["als"].version
    als = {name: [value for _, value, _ in points] for name, points in candidates["als"].history.items()}
    assert als["loss"] == sorted(als["loss"], reverse=True)
    assert als["fold_rmse"] == [candidates["als"].metrics[f"fold_{number}_rmse"] for number in (1, 2, 3)]
    chosen, choice = candidate_training.complete_best(candidates, ChoiceRule(), sample_rows, options)
    assert choice.ranking in {"als", "ease", "slim", "hybrid"}
    assert choice.stars in {"svd", "knn", "baseline", "stack"}
    assert chosen.metrics["ndcg_at_10"] > 2 * candidates["baseline"].metrics["ndcg_at_10"]
    assert read_reference(chosen.files["reference.json"]).rows == len(sample_rows.train)
    assert "generated demo data, not for real use" in chosen.files["card.md"].decode()
    assert chosen.metrics["temporal_rmse"] > 0
    assert chosen.metrics["ndcg_at_10"] > chosen.metrics["popularity_ndcg_at_10"] > 0
    card = chosen.files["card.md"].decode()
    assert f"**{choice.ranking}** (order)" in card
    assert f"**{choice.stars}** (stars)" in card
    for name in ("ndcg_at_10", "popularity_ndcg_at_10", "temporal_ndcg_at_10", "temporal_popularity_ndcg_at_10"):
        assert f"{chosen.metrics[name]:.4f} |" in card
    assert set(chosen.metrics) >= {"rmse", "mae", "ndcg_at_10", "recall_at_10", "coverage", "novelty", "fold_3_mae"}

    policy = gating.build_policy(0.02, 0.002, 0.02)
    champion = candidates["baseline"].manifest("2024-01-01")
    comparison = gating.compare(chosen, sample_rows, champion, candidates["baseline"].files)
    better = decide(
        Evaluation(chosen.version, chosen.metrics),
        Evaluation(champion.version, champion.metrics),
        comparison,
        policy,
    )
    assert better.promote, better.reason
    # Both heads are compared, paired over the same users.
    stars = comparison.others["rmse"]
    expected = champion.metrics["rmse"] - chosen.metrics["rmse"]
    assert stars.value == pytest.approx(expected, abs=1e-9)
    assert stars.low <= stars.value <= stars.high
    assert f", of rmse {stars.value:+.4f} [" in better.reason
    back = gating.compare(candidates["baseline"], sample_rows, chosen.manifest("2024-01-01"), chosen.files)
    worse = decide(
        Evaluation(champion.version, champion.metrics), Evaluation(chosen.version, chosen.metrics), back, policy
    )
    assert not worse.promote
    assert "ndcg_at_10" in worse.reason


def test_another_holdout_share_is_no_fair_comparison(sample_rows: TrainingRows, options: TrainingOptions) -> None:
    """The champion may have trained on rows of the current holdout."""
    bundle = candidate_training.train_candidate("baseline", sample_rows, options, {}).bundle
    champion = bundle.manifest("2024-01-01")
    changed = {**bundle.signature, "options": {**bundle.signature["options"], "holdout_share": 0.3}}
    bundle = type(bundle)(bundle.model, bundle.files, changed, bundle.metrics, bundle.lineage)
    with pytest.raises(ValueError, match=r"set ACCIDENT_RECO_MOVIES_HOLDOUT_SHARE back to 0\.2"):
        gating.compare(bundle, sample_rows, champion, bundle.files)


def test_a_fit_that_reads_its_rows_itself(
    sample_rows: TrainingRows, options: TrainingOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its version holds the totals of its own rows, not of those that the training has: here of a third of the users.
    The version states what trained each head, and the sample which of them.
    """
    own = CANDIDATES["als"]
    data = IndexedRatings.from_ratings(sample_rows.train)
    whole = candidate_training.train_candidate("als", sample_rows, options, {}).bundle
    totals = RatingTotals.from_ratings(
        sample_rows.train, data.user_ids, data.movie_ids, options.popularity.half_life_days
    )
    everything = replace(own.fit(data, sample_rows.scale, options.fit), totals=totals)
    # The report over time fits on this machine.
    monkeypatch.setitem(CANDIDATES, "als", replace(own, fit=lambda *of: everything if of[2].tune else own.fit(*of)))
    train, held = sample_rows.train, sample_rows.holdout
    some = replace(sample_rows, train=train.take(train.user_id % 3 == 0), holdout=held.take(held.user_id % 3 == 0))
    lineage = {"data_source": "sample", SAMPLE: {"ratings": 4_000, "of": 12_000, "setting": "MAX"}}
    ranking, stars = (
        candidate_training.train_candidate(kind, some, options, lineage).bundle for kind in ("als", "baseline")
    )
    assert ranking.files["arrays.npz"] == whole.files["arrays.npz"]
    assert ranking.signature["trained_on"] == whole.signature["trained_on"]
    completed, _ = candidate_training.complete_best({"als": ranking, "baseline": stars}, ChoiceRule(), some, options)
    assert completed.signature["stars_trained_on"]["ratings"] == len(some.train)
    assert completed.lineage[SAMPLE] == {**lineage[SAMPLE], "heads": ["stars"]}
    users = len(np.unique(some.train.user_id))
    card = completed.files["card.md"].decode()
    assert f"Trained on {len(train):,} ratings by {len(data.user_ids):,} users" in card
    assert f"Predicted stars: {len(some.train):,} ratings by {users:,} users." in card
    assert "The order was trained on everything outside of the holdout." in card
    version = Recommender.from_files(completed.files)
    assert (len(version.user_id), version.training_users) == (users, len(data.user_ids))
    # Novelty is of the share of all users who rated a movie: never above one.
    found = metrics.evaluate(version, some.train, some.holdout)
    assert found.metrics["novelty"] == pytest.approx(ranking.metrics["novelty"], rel=0.05)


def test_ndcg_by_hand(sample_rows: TrainingRows, options: TrainingOptions) -> None:
    """One user with three liked movies of which the version recommends two, first and third."""
    fitted = fitting.fit(
        CANDIDATES["baseline"], IndexedRatings.from_ratings(sample_rows.train), sample_rows.scale, options.fit
    )
    version = Recommender(
        build_arrays(fitted, sample_rows.catalogue, sample_rows.train, sample_rows.scale, options.popularity)
    )
    user = int(sample_rows.train.user_id[0])
    known = sample_rows.train.take(sample_rows.train.user_id == user)
    from accident_reco.models.movies.data.history import History
    from accident_reco.models.movies.data.ratings import Ratings

    first = version.rank_unseen(user, History(known.movie_id, known.rating, known.rated_at), metrics.TOP)
    assert not set(first.tolist()) & set(known.movie_id.tolist())
    other = np.setdiff1d(version.movie_id, np.concatenate([first, known.movie_id]))[0]
    holdout = Ratings.from_columns([user] * 4, [first[0], first[2], other, first[1]], [5, 4, 4, 1], [0] * 4)
    measured = metrics.evaluate(version, known, holdout)
    expected = (1 + 1 / np.log2(4)) / (1 + 1 / np.log2(3) + 1 / np.log2(4))
    assert measured.metrics["ndcg_at_10"] == pytest.approx(expected)
    assert measured.metrics["recall_at_10"] == pytest.approx(2 / 3)
