"""Makes candidates: cross-validated, measured on the frozen holdout, packed as bundles; and picks the winner.

No storage, no tracker, no Dagster: rows in, bundle out. The same rows, options and seed give the same version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from accident_reco.lifecycle.bundle import Bundle, canonical_json
from accident_reco.models.movies.data.history import History
from accident_reco.models.movies.data.ratings import Catalogue, Ratings, RatingScale
from accident_reco.models.movies.data.split import SplitOptions, folds, temporal_cut
from accident_reco.models.movies.scoring.arrays import PopularityOptions, bundle_arrays
from accident_reco.models.movies.scoring.packing import FILE, write_arrays
from accident_reco.models.movies.scoring.recommender import Recommender
from accident_reco.models.movies.training import metrics, reference_profile
from accident_reco.models.movies.training.card import card
from accident_reco.models.movies.training.choice import Choice, ChoiceRule, choose
from accident_reco.models.movies.training.fitting import FittedModel, ModelOptions, fit
from accident_reco.models.movies.training.trainset import IndexedRatings

MODEL = "movies"
MAX_TEMPORAL_ROWS = 5_000_000
"""Above this the temporal report, which fits once more, is left out."""
PARITY_PAIRS = 150
RANKED_USERS = 2_000
"""Users whose lists tell the candidates apart; the gate, which compares two versions and not four, looks at more."""


@dataclass(frozen=True)
class Rows:
    """What every candidate gets: the same rows, catalogue and scale; which training rows are made up (None: none)."""

    train: Ratings
    holdout: Ratings
    catalogue: Catalogue
    scale: RatingScale
    simulated: np.ndarray | None = None


@dataclass(frozen=True)
class Options:
    """Everything that shapes a candidate."""

    model: ModelOptions = field(default_factory=ModelOptions)
    split: SplitOptions = field(default_factory=SplitOptions)
    popularity: PopularityOptions = field(default_factory=PopularityOptions)


@dataclass(frozen=True)
class Candidate:
    """A trained candidate, the error of each fold, and the bare seconds that its fits took."""

    bundle: Bundle
    folds: list[dict[str, float]]
    fit_seconds: float
    parity: float | None
    """Largest difference to Surprise's own predictions, in stars; None where there is no such model."""


def train_candidate(kind: str, rows: Rows, options: Options, lineage: Mapping[str, Any]) -> Candidate:
    """Cross-validate, fit on all training rows, measure on the holdout, pack."""
    data = IndexedRatings.of(rows.train)
    per_fold, seconds = cross_validate(kind, data, rows, options)
    model = fit(kind, data, rows.scale, options.model)
    arrays = bundle_arrays(model, rows.catalogue, rows.train, rows.scale, options.popularity)
    version = Recommender(arrays)
    measured = metrics.measure(version, rows.train, rows.holdout, RANKED_USERS, options.model.threads)
    values = {
        **measured.metrics,
        "cv_rmse": float(np.mean([fold["rmse"] for fold in per_fold])),
        "cv_mae": float(np.mean([fold["mae"] for fold in per_fold])),
        **{f"fold_{number}_{name}": value for number, fold in enumerate(per_fold, 1) for name, value in fold.items()},
    }
    bundle = Bundle(MODEL, {FILE: write_arrays(arrays)}, signature(model, rows, options), finite(values), lineage)
    return Candidate(bundle, per_fold, seconds + model.fit_seconds, parity(model, version, rows))


def cross_validate(
    kind: str, data: IndexedRatings, rows: Rows, options: Options
) -> tuple[list[dict[str, float]], float]:
    """RMSE and MAE of each fold, and the seconds that fitting took; every candidate gets the same folds."""
    kind = fold_kind(kind)
    results, seconds = [], 0.0
    for train_mask, test_mask in folds(len(data), options.model.seed):
        model = fit(kind, data.take(train_mask), rows.scale, options.model)
        seconds += model.fit_seconds
        known, judged = rows.train.take(train_mask), rows.train.take(test_mask)
        version = Recommender(bundle_arrays(model, rows.catalogue, known, rows.scale, options.popularity))
        with metrics.one_blas_thread():
            error = metrics.rating_errors(version, known, judged)
        results.append({"rmse": float(np.sqrt(np.mean(error**2))), "mae": float(np.mean(np.abs(error)))})
    return results, seconds


def fold_kind(kind: str) -> str:
    """What is fitted on a fold: folds judge stars, and ALS takes its stars from the biases alone."""
    return "biases" if kind == "als" else kind


def parity(model: FittedModel, version: Recommender, rows: Rows, pairs: int = PARITY_PAIRS) -> float | None:
    """Largest difference in stars between our numpy scores and Surprise's own `predict`, over holdout pairs."""
    if model.surprise is None or not len(rows.holdout):
        return None
    random = np.random.default_rng(0)
    worst = 0.0
    for row in random.integers(0, len(rows.holdout), pairs).tolist():
        user, movie = int(rows.holdout.user_id[row]), int(rows.holdout.movie_id[row])
        known = slice(*np.searchsorted(rows.train.user_id, [user, user + 1]).tolist())
        history = History(rows.train.movie_id[known], rows.train.rating[known], rows.train.rated_at[known])
        if known.start == known.stop:
            continue  # Surprise has no fold-in to compare with
        ours = version.predict(user, np.array([movie]), history)[0]
        worst = max(worst, float(abs(ours - model.surprise.predict(user, movie).est)))
    return worst


def signature(model: FittedModel, rows: Rows, options: Options) -> dict[str, Any]:
    """What goes in and comes out, and what shaped it; part of the version's identity."""
    return {
        "task": "recommendation",
        "kind": model.kind,
        "inputs": {"user_id": "int", "ratings": [{"movie_id": "int", "rating": "stars"}]},
        "outputs": {"score": "order", "predicted_rating": "stars"},
        "rating_scale": asdict(rows.scale),
        "options": {
            **{name: value for name, value in asdict(options.model).items() if name != "threads"},
            **asdict(options.split),
            **asdict(options.popularity),
        },
        "trained_on": {
            "ratings": len(rows.train),
            "users": len(model.user_ids),
            "movies": len(model.movie_ids),
            "catalogue": len(rows.catalogue),
        },
    }


def winner(candidates: Mapping[str, Bundle], rule: ChoiceRule, rows: Rows) -> tuple[Bundle, Choice]:
    """The chosen candidate, completed with its reference profile and model card."""
    choice = choose({kind: bundle.metrics for kind, bundle in candidates.items()}, rule)
    chosen = candidates[choice.winner]
    reference = reference_profile.reference(rows.train, str(chosen.lineage.get("data_source", "")))
    metrics_by_kind = {kind: dict(bundle.metrics) for kind, bundle in candidates.items()}
    files = {
        **chosen.files,
        "reference.json": canonical_json(reference),
        "card.md": card(chosen, choice, metrics_by_kind).encode(),
    }
    return replace(chosen, files=files), choice


def temporal_report(kind: str, rows: Rows, options: Options) -> dict[str, float]:
    """What the winner's kind is worth on the newest fifth of the ratings when it is trained on those before.

    Empty where there are too few rows to say, or too many to fit once more.
    """
    parts = temporal_parts(rows)
    if parts is None:
        return {}
    known, judged = parts
    model = fit(kind, IndexedRatings.of(known), rows.scale, options.model)
    version = Recommender(bundle_arrays(model, rows.catalogue, known, rows.scale, options.popularity))
    measured = metrics.measure(version, known, judged, RANKED_USERS, options.model.threads)
    return finite({f"temporal_{name}": value for name, value in measured.metrics.items()})


def temporal_parts(rows: Rows) -> tuple[Ratings, Ratings] | None:
    """The older ratings and the newest fifth, of both parts of the split; None where there is no such report.

    Made-up ratings are in neither: all are of these days, so that they would be most of what judges.
    """
    real = rows.train if rows.simulated is None else rows.train.take(~rows.simulated)
    everything = Ratings.concatenate([real, rows.holdout]).ordered()
    newest, _ = temporal_cut(everything)
    if not newest.any() or newest.all() or len(everything) > MAX_TEMPORAL_ROWS:
        return None
    return everything.take(~newest), everything.take(newest)


def finite(values: Mapping[str, float]) -> dict[str, float]:
    """Only the metrics that have a value: a bundle holds no NaN."""
    return {name: float(value) for name, value in values.items() if np.isfinite(value)}
