"""Trainings of tens of millions of ratings: what takes a part of them reports it, and no bound changes anything else.

The bounds are lowered instead of the data raised.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sparse

from accident_reco.lifecycle.holdout import in_holdout
from accident_reco.models.movies.candidates import CANDIDATES, ease, inner_split, knn, stack
from accident_reco.models.movies.candidates.candidate import FitSample
from accident_reco.models.movies.candidates.trainset import IndexedRatings
from accident_reco.models.movies.data import split
from accident_reco.models.movies.scoring import bulk
from accident_reco.models.movies.scoring.recommender import Recommender
from accident_reco.models.movies.training import candidate_training, fitting, samples
from accident_reco.models.movies.training.arrays import build_arrays
from accident_reco.models.movies.training.candidate_training import TrainingOptions, TrainingRows
from accident_reco.models.movies.training.choice import ChoiceRule
from accident_reco.models.movies.training.loading import HOLDOUT

LINEAGE = {"data_source": "sample", "sample": None}


@pytest.fixture(scope="module")
def data(sample_rows: TrainingRows) -> IndexedRatings:
    return IndexedRatings.from_ratings(sample_rows.train)


def test_a_sample_is_of_whole_users_and_part_of_a_larger_one(data: IndexedRatings) -> None:
    """By hash of their ids, another one than that of the setting, whose users would all be chosen again."""
    few, more = (data.mask_sample(len(data) // part) for part in (4, 2))
    assert few.sum() == pytest.approx(len(data) / 4, rel=0.35)
    assert not (few & ~more).any()
    users = np.unique(data.user[few])
    assert np.isin(data.user, users).sum() == few.sum()
    sampled = data.sample_users(len(data) // 4)
    assert len(sampled) == few.sum()
    assert sampled.user_ids is data.user_ids
    assert data.sample_users(len(data)) is data
    ids = np.arange(1, 20_001)
    by_setting = split.select_users(10_000, ids, 20_000)
    assert in_holdout(ids[by_setting], 0.5, 0x0B5E_55ED).mean() == pytest.approx(0.5, abs=0.03)


def test_a_matrix_of_rows_in_order_is_that_of_any_order(data: IndexedRatings) -> None:
    """Built without sorting: users without a row have empty ones."""
    some = data.take(data.user % 3 > 0)
    shape = len(data.user_ids), len(data.movie_ids)
    expected = sparse.csr_matrix((some.rating, (some.user, some.movie)), shape=shape)
    found = some.build_matrix()
    for name in ("data", "indices", "indptr"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_in_blocks_are_the_whole_product(monkeypatch: pytest.MonkeyPatch, dtype: type) -> None:
    """To the last bit, so that versions stay what they are."""
    inputs = sparse.random(400, 50, 0.2, random_state=1, format="csr", dtype=dtype)
    monkeypatch.setattr(ease, "ROWS_AT_ONCE", 7)
    assert np.array_equal(ease.compute_gram(inputs), (inputs.T @ inputs).toarray())


def test_a_cross_validation_of_many_ratings_has_one_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of the same folds."""
    every = list(split.iterate_folds(300, 5))
    monkeypatch.setattr(split, "MAX_FOLDED", 299)
    (only,) = split.iterate_folds(300, 5)
    assert all(np.array_equal(one, other) for one, other in zip(only, every[0], strict=True))


def test_stars_of_many_rows_are_predicted_in_parts(
    sample_rows: TrainingRows, options: TrainingOptions, data: IndexedRatings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts end anywhere in a user's rows, and give the same stars to the last bit."""
    fitted = fitting.fit(CANDIDATES["knn"], data, sample_rows.scale, options.fit)
    version = Recommender(
        build_arrays(fitted, sample_rows.catalogue, sample_rows.train, sample_rows.scale, options.popularity)
    )
    whole = bulk.predict_ratings(version, sample_rows.train, sample_rows.holdout)
    monkeypatch.setattr(bulk, "MAX_ROWS", 97)
    assert np.array_equal(bulk.predict_ratings(version, sample_rows.train, sample_rows.holdout), whole)


def test_training_rows_come_before_the_holdout() -> None:
    """A frame in another order would be cut at the wrong row."""
    from accident_reco.models.movies.training.loading import load_rows

    with pytest.raises(ValueError, match="must come before"):
        load_rows(pd.DataFrame({HOLDOUT: [True, False]}), None, None)  # type: ignore[arg-type]


def test_hyperparameters_are_chosen_on_a_sample(
    sample_rows: TrainingRows, options: TrainingOptions, data: IndexedRatings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fit itself takes all rows, and reports what its tuning took."""
    assert ease.fit(data, sample_rows.scale, options.fit).samples == ()
    monkeypatch.setattr(inner_split, "MAX_RATINGS", len(data) // 3)
    parts = inner_split.split_rows(data)
    (sample,) = parts.samples
    assert (sample.purpose, sample.of) == ("hyperparameters", len(data))
    assert len(parts.known) < sample.ratings == len(data.sample_users(len(data) // 3))
    for kind in ("ease", "slim", "hybrid"):
        fitted = fitting.fit(CANDIDATES[kind], data, sample_rows.scale, options.fit).fit
        assert fitted.samples == (sample,)
    assert fitting.fit(CANDIDATES["ease"], data, sample_rows.scale, replace(options.fit, tune=False)).fit.samples == ()


def test_similarities_of_a_sample_predict_as_surprise_with_them(
    sample_rows: TrainingRows, options: TrainingOptions, data: IndexedRatings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Biases and histories are of all users, who all stay known; the nearest movies of a large catalogue are fewer."""
    monkeypatch.setattr(knn, "MAX_COMPARED", len(data) // 2)
    found = candidate_training.train_candidate("knn", sample_rows, options, LINEAGE)
    assert found.parity is not None
    assert found.parity < 1e-6
    compared = len(data.sample_users(len(data) // 2))
    assert found.bundle.lineage["sample"] == {"fits": {"knn": {"similarities": {"ratings": compared, "of": len(data)}}}}
    assert found.bundle.signature["fitted_with"]["similarities_ratings"] == compared
    assert found.bundle.signature["trained_on"]["users"] == len(data.user_ids)
    assert knn.KnnOptions().limit_neighbours(84_000).neighbours == 119
    assert knn.KnnOptions().limit_neighbours(9_000).neighbours == 800


def test_a_version_of_many_ratings_states_its_samples(
    sample_rows: TrainingRows, options: TrainingOptions, data: IndexedRatings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its lineage, which the API serves, and on its card: those of both heads, and that it has one fold."""
    monkeypatch.setattr(split, "MAX_FOLDED", len(data) - 1)
    monkeypatch.setattr(inner_split, "MAX_RATINGS", len(data) // 3)
    monkeypatch.setattr(knn, "MAX_COMPARED", len(data) // 2)
    monkeypatch.setattr(stack, "MAX_WEIGHED", len(data) // 6)
    candidates = {}
    for kind in ("ease", "stack"):
        trained = candidate_training.train_candidate(kind, sample_rows, options, LINEAGE)
        assert len(trained.folds) == 1
        assert trained.parity is None or trained.parity < 1e-6
        candidates[kind] = trained.bundle
    weights = candidates["stack"].signature["fitted_with"]
    assert weights["weights_ratings"] == pytest.approx(len(data) / 6, rel=0.35)
    assert candidates["stack"].metrics["cv_rmse"] == pytest.approx(candidates["stack"].metrics["rmse"], abs=0.1)
    version, _ = candidate_training.complete_best(candidates, ChoiceRule(), sample_rows, options)
    fits = version.lineage["sample"]["fits"]
    assert {kind: set(purposes) for kind, purposes in fits.items()} == {
        "ease": {"hyperparameters"},
        "stack": {"weights", "similarities"},
    }
    card = version.files["card.md"].decode()
    tuned = fits["ease"]["hyperparameters"]
    assert f"its hyperparameters on {tuned['ratings']:,} of {tuned['of']:,} training ratings" in card
    assert "**Sample of stack**: its weights on " in card
    assert "Cross-validated (cv) on one fold of 3" in card


def test_samples_of_settings_and_of_fits_are_one_entry() -> None:
    """`sample` is None only where everything trained."""
    by_setting = {"ratings": 500, "of": 1000, "setting": "ACCIDENT_RECO_MOVIES_MAX_RATINGS"}
    assert samples.add_samples(LINEAGE, "als", ()) == LINEAGE
    assert samples.merge_samples(LINEAGE, LINEAGE) == LINEAGE
    assert samples.describe_samples(LINEAGE) == []
    stars = samples.add_samples({"sample": by_setting}, "knn", [FitSample("similarities", 80, 400)])
    merged = samples.merge_samples({"sample": by_setting}, stars)
    assert merged["sample"] == {**by_setting, "fits": {"knn": {"similarities": {"ratings": 80, "of": 400}}}}
    setting, fit = samples.describe_samples(merged)
    assert setting.endswith("chosen by hash, by the setting ACCIDENT_RECO_MOVIES_MAX_RATINGS.")
    assert fit.startswith("**Sample of knn**: its similarities on 80 of 400 training ratings")
