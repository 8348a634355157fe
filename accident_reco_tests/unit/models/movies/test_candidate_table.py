"""A kind of movie model is stated in one place: all that the platform does with it follows from the table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from accident_reco.models.movies import candidates
from accident_reco.models.movies.assets.plugin import MovieTraining, check_parity
from accident_reco.models.movies.candidates import CANDIDATES, als, baseline
from accident_reco.models.movies.candidates.candidate import Fit, FitOptions
from accident_reco.models.movies.candidates.scorer import BaselineScorer, UserState
from accident_reco.models.movies.candidates.trainset import IndexedRatings
from accident_reco.models.movies.data.ratings import RatingScale
from accident_reco.models.movies.scoring.answer import FIELDS
from accident_reco.models.movies.scoring.recommender import Recommender, RecommendOptions
from accident_reco.models.movies.serving.answers import RecommendedMovie
from accident_reco.models.movies.training.candidate_training import TrainingOptions, TrainingRows, train_candidate
from accident_reco.models.movies.training.card import write_card
from accident_reco.models.movies.training.choice import ChoiceRule, choose

DIFFERENCE = "largest difference to the training library"


class LeastRatedScorer(BaselineScorer):
    """Ranks by an array of its own."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        super().__init__(arrays)
        self.rarity = arrays["movie_rarity"]

    def score_all(self, state: UserState) -> np.ndarray:
        return self.rarity.astype(np.float64)


def fit_rarity(data: IndexedRatings, scale: RatingScale, options: FitOptions) -> Fit:
    rarity = 1 / np.bincount(data.movie, minlength=len(data.movie_ids)).clip(1)
    fitted = baseline.fit(data, scale, options)
    return replace(fitted, arrays={**fitted.arrays, "movie_rarity": rarity})


def test_assets_follow_the_table() -> None:
    """One asset per kind, in the order of the table; of equals the slowest starts first."""
    assert (
        list(MovieTraining.candidates)
        == list(CANDIDATES)
        == ["svd", "knn", "baseline", "als", "ease", "slim", "hybrid", "stack"]
    )
    assert [one.asset for one in MovieTraining.candidates.values()] == [one.asset for one in CANDIDATES.values()]
    assert len({one.asset for one in CANDIDATES.values()}) == len(CANDIDATES)
    assert max(CANDIDATES.values(), key=lambda one: one.priority).kind == "stack"


def test_a_new_kind_is_one_module_and_one_line(
    sample_rows: TrainingRows, options: TrainingOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its line in the table a kind is cross-validated, evaluated, packed, loaded, served and described."""
    rare = replace(
        baseline.CANDIDATE, kind="rare", algorithm="rarity", scorer=LeastRatedScorer, fit=fit_rarity, asset="rare_model"
    )
    monkeypatch.setitem(candidates.CANDIDATES, "rare", rare)  # type: ignore[arg-type]
    trained = train_candidate("rare", sample_rows, options, {"data_source": "sample"})
    assert trained.parity == 0.0
    assert len(trained.folds) == 3
    version = Recommender.from_files(trained.bundle.files)
    answer = version.recommend(int(version.user_id[0]), RecommendOptions(count=5))
    counts = version.rating_count[answer.movies.row]
    assert counts.max() <= np.sort(version.rating_count[version.rating_count > 0])[4]
    choice = choose({"rare": trained.bundle.metrics}, ChoiceRule())
    card = write_card(trained.bundle, choice, {"rare": trained.bundle.metrics})
    assert "Order of the list: rarity. Predicted stars: rarity." in card
    assert "**Sample**" not in card
    sample = {"ratings": 7_000, "of": 9_000, "setting": "SOME_SETTING"}
    limited = replace(trained.bundle, lineage={"data_source": "directory", "sample": sample})
    stated = (
        "**Sample**: 7,000 of 9,000 stored ratings were read: whole users, chosen by hash, by the setting SOME_SETTING."
    )
    assert stated in write_card(limited, choice, {"rare": trained.bundle.metrics})


def test_folds_of_als_fit_biases_only(sample_rows: TrainingRows, options: TrainingOptions) -> None:
    """Cross-validation of ALS fits no factors, and predicts what ALS predicts."""
    data = IndexedRatings.from_ratings(sample_rows.train)
    folds = als.CANDIDATE.folds
    assert folds is not None
    on_fold = folds.fit(data, sample_rows.scale, options.fit).arrays
    whole = als.fit(data, sample_rows.scale, options.fit).arrays
    assert set(on_fold) == {"user_bias", "movie_bias", "global_mean"}
    assert all((on_fold[name] == whole[name]).all() for name in on_fold)


def test_documented_fields_are_those_of_the_table() -> None:
    """Names and descriptions of a recommended movie in OpenAPI; a field on request may be absent."""
    shown = RecommendedMovie.model_json_schema()
    assert list(shown["properties"]) == [field.name for field in FIELDS]
    assert shown["required"] == [field.name for field in FIELDS if not field.on_request]
    for field in FIELDS:
        assert shown["properties"][field.name].get("description") == field.description


@pytest.mark.parametrize(
    ("difference", "loss", "passed", "warn", "reason"),
    [
        (None, None, True, True, "the library's factors are used unchanged"),
        (1e-6, None, True, True, "largest difference to the training library 1.0e-06 stars"),
        (2e-6, None, False, False, "largest difference to the training library 2.0e-06 stars"),
        (float("nan"), None, False, False, "largest difference to the training library nan stars"),
        (None, 0.002, True, True, "pruning costs 0.0020 NDCG@10"),
        # The loss is measured with noise: it warns, and the best kind of the others still serves.
        (None, 0.0021, False, True, "pruning costs 0.0021 NDCG@10"),
        (2.0, 0.0, False, False, f"{DIFFERENCE} 2.0e+00 stars; pruning costs 0.0000 NDCG@10"),
    ],
)
def test_check_of_scores(difference: float | None, loss: float | None, passed: bool, warn: bool, reason: str) -> None:
    """Stars as the library predicts them block; the loss by pruning warns."""
    check = check_parity(difference, loss)
    assert (check.passed, check.warn, check.reason) == (passed, warn, reason)


def test_every_kind_has_a_head() -> None:
    """A kind ranks, predicts stars, or both; each head has candidates."""
    assert all(one.ranks or one.predicts_stars for one in CANDIDATES.values())
    assert [one.kind for one in CANDIDATES.values() if one.ranks and one.predicts_stars] == ["svd", "knn", "baseline"]
