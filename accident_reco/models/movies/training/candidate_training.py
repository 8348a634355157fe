"""Trains candidates: cross-validated, evaluated on the frozen holdout, packed as bundles; and completes the best one.

No storage, no tracker, no Dagster: rows in, bundle out. The same rows, options and seed give the same version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from accident_reco.lifecycle.bundle import Bundle, canonical_json
from accident_reco.lifecycle.evaluation import EVALUATION_FILE
from accident_reco.lifecycle.training_history import number_steps
from accident_reco.models.movies.candidates import CANDIDATES
from accident_reco.models.movies.candidates.candidate import FitOptions, MovieCandidate
from accident_reco.models.movies.candidates.heads import OWN_ROWS, STARS_ROWS, compose_arrays
from accident_reco.models.movies.candidates.trainset import IndexedRatings
from accident_reco.models.movies.data.history import History
from accident_reco.models.movies.data.ratings import Catalogue, Ratings, RatingScale
from accident_reco.models.movies.data.split import SplitOptions, cut_by_time, iterate_folds
from accident_reco.models.movies.scoring.packing import FILE, read_arrays, write_arrays
from accident_reco.models.movies.scoring.recommender import Recommender
from accident_reco.models.movies.training import metrics, reference_profile
from accident_reco.models.movies.training.arrays import PopularityOptions, build_arrays
from accident_reco.models.movies.training.audience import build_evaluation, measure_audience
from accident_reco.models.movies.training.card import write_card
from accident_reco.models.movies.training.choice import Choice, ChoiceRule, choose
from accident_reco.models.movies.training.fitting import FittedModel, fit
from accident_reco.models.movies.training.samples import add_samples, limit_to_stars, merge_samples

MODEL = "movies"
MAX_TEMPORAL_ROWS = 5_000_000
"""Above this number of ratings the temporal report, which fits once more, is omitted."""
PARITY_PAIRS = 150
MAX_RANKED_USERS = 2_000
"""Users whose lists compare the candidates; the gate, which compares two versions and not four, uses more."""


@dataclass(frozen=True)
class TrainingRows:
    """Rows, catalogue and scale that every candidate gets.

    Args:
        simulated: mask of the simulated training rows; None: none is.
    """

    train: Ratings
    holdout: Ratings
    catalogue: Catalogue
    scale: RatingScale
    simulated: np.ndarray | None = None


@dataclass(frozen=True)
class TrainingOptions:
    """Everything that shapes a candidate."""

    fit: FitOptions = field(default_factory=FitOptions)
    split: SplitOptions = field(default_factory=SplitOptions)
    popularity: PopularityOptions = field(default_factory=PopularityOptions)


@dataclass(frozen=True)
class TrainedCandidate:
    """A trained candidate.

    Args:
        folds: RMSE and MAE of each fold.
        fit_seconds: seconds of its fits alone, those of the folds included.
        parity: largest difference to the training library's own predictions, in stars; None where there are none.
        pruning_loss: NDCG@10 that the served weights lose to the fitted ones, on an inner split; None: none was pruned.
    """

    bundle: Bundle
    folds: list[dict[str, float]]
    fit_seconds: float
    parity: float | None
    pruning_loss: float | None


def train_candidate(
    kind: str, rows: TrainingRows, options: TrainingOptions, lineage: Mapping[str, Any]
) -> TrainedCandidate:
    """Fit on all training rows, evaluate on the holdout, pack as a bundle; and cross-validate."""
    candidate, data = CANDIDATES[kind], IndexedRatings.from_ratings(rows.train)
    model = fit(candidate, data, rows.scale, options.fit)
    arrays = build_arrays(model, rows.catalogue, rows.train, rows.scale, options.popularity)
    version = Recommender(arrays)
    evaluation = metrics.evaluate(version, rows.train, rows.holdout, MAX_RANKED_USERS, options.fit.threads)
    files, signature = {FILE: write_arrays(arrays)}, build_signature(model, rows, options)
    parity, seconds = compute_parity(model, version, rows), model.fit_seconds
    # The folds need none of what the library and the ratings' orders take: a gigabyte and more of 26 million ratings.
    fitted, data = replace(model.fit, arrays={}, predict=None), replace(data)
    del model, version, arrays
    folds = list(fitted.folds or ())
    if not folds:
        folds, more_seconds = cross_validate(candidate, data, rows, options)
        seconds += more_seconds
    values = {
        **evaluation.metrics,
        "cv_rmse": float(np.mean([fold["rmse"] for fold in folds])),
        "cv_mae": float(np.mean([fold["mae"] for fold in folds])),
        **{f"fold_{number}_{name}": value for number, fold in enumerate(folds, 1) for name, value in fold.items()},
    }
    history = {
        **{name: number_steps(steps) for name, steps in fitted.history.items() if steps},
        **{f"fold_{name}": number_steps(fold[name] for fold in folds) for name in folds[0]},
    }
    origin = add_samples(lineage, kind, fitted.samples)
    if fitted.totals is not None:
        origin = limit_to_stars(origin)
    bundle = Bundle(MODEL, files, signature, drop_missing(values), origin, history=history)
    return TrainedCandidate(bundle, folds, seconds, parity, fitted.pruning_loss)


def cross_validate(
    candidate: MovieCandidate, data: IndexedRatings, rows: TrainingRows, options: TrainingOptions
) -> tuple[list[dict[str, float]], float]:
    """RMSE and MAE of each fold, and the seconds of the fits; every candidate gets the same folds."""
    results, seconds = [], 0.0
    for train_mask, test_mask in iterate_folds(len(data), options.fit.seed):
        model = fit(candidate.folds or candidate, data.take(train_mask), rows.scale, options.fit)
        seconds += model.fit_seconds
        known, held = rows.train.take(train_mask), rows.train.take(test_mask)
        version = Recommender(build_arrays(model, rows.catalogue, known, rows.scale, options.popularity))
        with metrics.limit_blas_threads():
            error = metrics.compute_rating_errors(version, known, held)
        results.append({"rmse": float(np.sqrt(np.mean(error**2))), "mae": float(np.mean(np.abs(error)))})
    return results, seconds


def compute_parity(
    model: FittedModel, version: Recommender, rows: TrainingRows, pairs: int = PARITY_PAIRS
) -> float | None:
    """Largest difference in stars between the version's scores and the training library's own, over holdout pairs."""
    if model.fit.predict is None or not len(rows.holdout):
        return None
    random = np.random.default_rng(0)
    largest = 0.0
    for row in random.integers(0, len(rows.holdout), pairs).tolist():
        user, movie = int(rows.holdout.user_id[row]), int(rows.holdout.movie_id[row])
        known = slice(*np.searchsorted(rows.train.user_id, [user, user + 1]).tolist())
        history = History(rows.train.movie_id[known], rows.train.rating[known], rows.train.rated_at[known])
        if known.start == known.stop:
            continue  # the library has no fold-in to compare with
        own = version.predict(user, np.array([movie]), history)[0]
        expected = min(max(model.fit.predict(user, movie), version.low), version.high)
        largest = max(largest, float(abs(own - expected)))
    return largest


def build_signature(model: FittedModel, rows: TrainingRows, options: TrainingOptions) -> dict[str, Any]:
    """Inputs, outputs and everything that shaped the version; part of its identity."""
    hyperparameters: dict[str, float] = {}
    for candidate in CANDIDATES.values():
        hyperparameters |= candidate.describe_options(options.fit)
    return {
        "task": "recommendation",
        "kind": model.candidate.kind,
        "inputs": {"user_id": "int", "ratings": [{"movie_id": "int", "rating": "stars"}]},
        "outputs": {"score": "order", "predicted_rating": "stars"},
        "rating_scale": asdict(rows.scale),
        "options": {
            "seed": options.fit.seed,
            **hyperparameters,
            **asdict(options.split),
            **asdict(options.popularity),
        },
        "fitted_with": {**model.fit.options, **{f"{one.purpose}_ratings": one.ratings for one in model.fit.samples}},
        "trained_on": {
            "ratings": model.rows,
            "users": len(model.user_ids),
            "movies": len(model.movie_ids),
            "catalogue": len(rows.catalogue),
        },
        **({OWN_ROWS: True} if model.fit.totals is not None else {}),
    }


def complete_best(
    candidates: Mapping[str, Bundle], rule: ChoiceRule, rows: TrainingRows, options: TrainingOptions | None = None
) -> tuple[Bundle, Choice]:
    """The version of the two best heads by the rule, completed with its reference profile and model card, and with the
    metrics of its audience and over time.
    """
    options = options or TrainingOptions()
    choice = choose(
        {kind: bundle.metrics for kind, bundle in candidates.items()},
        rule,
        ranking=[kind for kind in candidates if CANDIDATES[kind].ranks],
        stars=[kind for kind in candidates if CANDIDATES[kind].predicts_stars],
    )
    composed = compose(candidates[choice.ranking], candidates[choice.stars])
    version = Recommender.from_files(composed.files)
    found = evaluate_with_audience(version, rows.train, rows.holdout, options)
    over_time = evaluate_over_time(choice, rows, options)
    added = {name: value for name, value in found.items() if name not in composed.metrics} | over_time
    composed = replace(composed, metrics={**composed.metrics, **drop_missing(added)})
    reference = reference_profile.build_profile(rows.train, str(composed.lineage.get("data_source", "")))
    metrics_by_kind = {kind: dict(bundle.metrics) for kind, bundle in candidates.items()}
    files = {
        **composed.files,
        "reference.json": canonical_json(reference),
        "card.md": write_card(composed, choice, metrics_by_kind).encode(),
        EVALUATION_FILE: build_evaluation(composed.metrics).to_json(),
    }
    return replace(composed, files=files), choice


def evaluate_with_audience(
    version: Recommender, train: Ratings, held: Ratings, options: TrainingOptions
) -> dict[str, float]:
    """Metrics of a version, by length of history too, and beside popularity."""
    evaluation = metrics.evaluate(version, train, held, MAX_RANKED_USERS, options.fit.threads)
    return {**evaluation.metrics, **measure_audience(version, evaluation, train, held, MAX_RANKED_USERS)}


def compose(ranking: Bundle, stars: Bundle) -> Bundle:
    """One version of two candidates: the order of one, the predicted ratings of the other. Both of the same rows, but
    for a ranking candidate that read its rows itself: all of them, where the others have a sample.

    The metrics are each head's own, which the holdout of both gave: the other head has no part in them.
    """
    own_rows = bool(ranking.signature.get(OWN_ROWS))
    files = read_arrays(ranking.files[FILE]), read_arrays(stars.files[FILE])
    arrays = compose_arrays(*files, own_rows=own_rows)
    signature = {
        **ranking.signature,
        "heads": {"ranking": ranking.signature["kind"], "stars": stars.signature["kind"]},
        "stars_fitted_with": stars.signature["fitted_with"],
        **({STARS_ROWS: stars.signature["trained_on"]} if own_rows else {}),
    }
    metrics = {name: value for name, value in ranking.metrics.items() if not is_of_stars(name)}
    metrics |= {name: value for name, value in stars.metrics.items() if is_of_stars(name)}
    lineage = merge_samples(ranking.lineage, stars.lineage)
    return Bundle(MODEL, {FILE: write_arrays(arrays)}, signature, metrics, lineage)


def is_of_stars(metric: str) -> bool:
    """Whether a metric measures predicted ratings; the others measure the order."""
    return metric.endswith(("rmse", "mae"))


def evaluate_over_time(choice: Choice, rows: TrainingRows, options: TrainingOptions) -> dict[str, float]:
    """Metrics (`temporal_…`) of the two heads on the newest fifth of the ratings, when trained on those before, with
    the hyperparameters that their tuning starts from.

    Empty where there are too few rows for it, or too many to fit once more.
    """
    parts = split_by_time(rows)
    if parts is None:
        return {}
    known, newest = parts
    data, arrays = IndexedRatings.from_ratings(known), {}
    for kind in {choice.ranking, choice.stars}:
        model = fit(CANDIDATES[kind], data, rows.scale, replace(options.fit, tune=False, spark=None))
        arrays[kind] = build_arrays(model, rows.catalogue, known, rows.scale, options.popularity)
    version = Recommender(compose_arrays(arrays[choice.ranking], arrays[choice.stars]))
    found = evaluate_with_audience(version, known, newest, options)
    return drop_missing({f"temporal_{name}": value for name, value in found.items()})


def split_by_time(rows: TrainingRows) -> tuple[Ratings, Ratings] | None:
    """The older ratings and the newest fifth, of both parts of the split; None where there is no such report.

    Simulated ratings are in neither: all of them are recent, so that they would be most of the newest fifth.
    """
    simulated = 0 if rows.simulated is None else int(rows.simulated.sum())
    if len(rows.train) - simulated + len(rows.holdout) > MAX_TEMPORAL_ROWS:
        return None
    real = rows.train if rows.simulated is None else rows.train.take(~rows.simulated)
    everything = Ratings.concatenate([real, rows.holdout]).sort_by_user()
    newest = cut_by_time(everything)
    if not newest.any() or newest.all():
        return None
    return everything.take(~newest), everything.take(newest)


def drop_missing(values: Mapping[str, float]) -> dict[str, float]:
    """The metrics that have a value: a bundle holds no NaN."""
    return {name: float(value) for name, value in values.items() if np.isfinite(value)}
