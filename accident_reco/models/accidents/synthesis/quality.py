"""Quality of synthetic road users: column shapes, discriminability, usefulness for training, distance to real ones.

Everything is measured against the holdout, which the synthesizer does not use. Samples are bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accident_reco.lifecycle.holdout import in_holdout
from accident_reco.models.accidents.features.builder import FeatureSpec, build_features
from accident_reco.models.accidents.features.location_features import COUNT_FEATURES
from accident_reco.models.accidents.synthesis.similarity import compare_tables
from accident_reco.models.accidents.training.fitting import FAST_BOOSTING, TrainingRows, fit_boosting
from accident_reco.models.accidents.training.metrics import roc_auc
from accident_reco.models.accidents.training.training_rows import extract_columns, severe_label

CODES: Final = (
    *("catu", "catv", "grav", "sexe", "secu1", "trajet", "agg", "catr", "col", "int", "lum", "atm", "surf"),
    *("plan", "circ", "place", "other_kind"),
)
NUMBERS: Final = ("an_nais", "vma", "hrmn", "lat", "long", "nb_users", "nb_vehicles")
MAX_REPORT_ROWS: Final = 10_000
MAX_TRAINING_ROWS: Final = 40_000
MAX_HOLDOUT_ROWS: Final = 100_000
MAX_NEIGHBOURS: Final = 10_000
MAX_QUERIES: Final = 300

# Goals of the quality check.
GOALS: Final[dict[str, float]] = {"quality": 0.95, "discriminator_auc": 0.65, "teaching_gap": 0.015}


@dataclass(frozen=True)
class Quality:
    """Measurements: `numbers` by name, `shapes` by column, `distances` to the closest real training row, shape (m,)."""

    numbers: dict[str, float]
    shapes: dict[str, float]
    distances: dict[str, NDArray[np.float64]]

    @property
    def missed_goals(self) -> list[str]:
        """Goals that were not reached, one sentence each."""
        n = self.numbers
        missed = []
        if n["quality"] < GOALS["quality"]:
            missed.append(f"quality {n['quality']:.3f} is below {GOALS['quality']}")
        if n["discriminator_auc"] > GOALS["discriminator_auc"]:
            missed.append(f"discriminator AUC {n['discriminator_auc']:.3f} is above {GOALS['discriminator_auc']}")
        if n["teaching_gap"] > GOALS["teaching_gap"]:
            missed.append(f"trained on synthetic rows, ROC AUC is {n['teaching_gap']:.4f} lower than on real ones")
        return missed


def measure_quality(victims: pd.DataFrame, synthetic: pd.DataFrame, seed: int, jobs: int) -> Quality:
    """All measurements; `victims` has the rows of training and holdout."""
    generator = np.random.default_rng(seed)
    held_out = in_holdout(victims["Num_Acc"].to_numpy())
    train, holdout = victims[~held_out], _sample(victims[held_out], MAX_HOLDOUT_ROWS, generator)
    quality, shapes = compute_report_scores(
        _sample(holdout, MAX_REPORT_ROWS, generator), _sample(synthetic, MAX_REPORT_ROWS, generator)
    )
    spec = FeatureSpec.learn(extract_columns(train))
    roc_aucs = {
        name: _train_and_score(_sample(rows, MAX_TRAINING_ROWS, generator), holdout, spec, seed, jobs)
        for name, rows in (("real", train), ("synthetic", synthetic))
    }
    distances = {
        name: compute_closest_distances(
            _sample(rows, MAX_QUERIES, generator), _sample(train, MAX_NEIGHBOURS, generator)
        )
        for name, rows in (("synthetic", synthetic), ("holdout", holdout))
    }
    near = float(np.quantile(distances["holdout"], 0.05))
    numbers = {
        **quality,
        "discriminator_auc": compute_discriminator_auc(holdout, synthetic, spec, seed, jobs),
        "auc_trained_on_real": roc_aucs["real"],
        "auc_trained_on_synthetic": roc_aucs["synthetic"],
        "teaching_gap": roc_aucs["real"] - roc_aucs["synthetic"],
        "distance_ratio": float(np.median(distances["synthetic"]) / max(np.median(distances["holdout"]), 1e-9)),
        # 5 % of the holdout rows are this near to a training row; a higher share would mean copies.
        "share_suspiciously_near": float(np.mean(distances["synthetic"] < near)),
    }
    return Quality(numbers, shapes, distances)


def compute_report_scores(real: pd.DataFrame, synthetic: pd.DataFrame) -> tuple[dict[str, float], dict[str, float]]:
    """Similarity of the compared columns: overall score with its two parts, and column → shape score."""
    ours, theirs = (_mark_missing(frame) for frame in (real, synthetic))
    codes, numbers = ([n for n in names if n in real and n in synthetic] for names in (CODES, NUMBERS))
    found = compare_tables(ours, theirs, codes, numbers)
    parts = {"quality": found.quality, "column_shapes": found.column_shapes, "pair_trends": found.pair_trends}
    return parts, found.shapes


def _mark_missing(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with missing numbers as NaN; in codes, -1 stays a category."""
    return frame.assign(**{n: frame[n].astype(float).where(frame[n] != -1) for n in NUMBERS if n in frame})


def compute_discriminator_auc(
    real: pd.DataFrame, synthetic: pd.DataFrame, spec: FeatureSpec, seed: int, jobs: int
) -> float:
    """ROC AUC of boosting that separates real from synthetic rows, on rows it was not fitted on; 0.5: it cannot."""
    generator = np.random.default_rng(seed)
    rows = min(len(real), len(synthetic))
    x = np.concatenate([_build_matrix(_sample(frame, rows, generator), spec) for frame in (real, synthetic)])
    # Accident counts of a place would identify the donor's place, not the quality of the synthetic row.
    x[:, [spec.position[name] for name in COUNT_FEATURES]] = np.nan
    y = np.repeat(np.array([0, 1], dtype=np.int8), rows)
    fitted = generator.random(2 * rows) < 0.5
    trees = fit_boosting(_to_training_rows(x[fitted], y[fitted]), FAST_BOOSTING, seed, jobs)
    return roc_auc(y[~fitted], trees.margin(x[~fitted]))


def compute_closest_distances(rows: pd.DataFrame, others: pd.DataFrame) -> NDArray[np.float64]:
    """Gower distance of each row to the closest of `others`, shape (n,): 0 (equal in every column) to 1."""
    total = np.zeros((len(rows), len(others)), dtype=np.float32)
    for name in CODES:
        total += rows[name].to_numpy()[:, None] != others[name].to_numpy()[None, :]
    for name in NUMBERS:
        ours, theirs = (np.nan_to_num(frame[name].to_numpy(np.float32)) for frame in (rows, others))
        low, high = np.quantile(theirs, [0.01, 0.99])
        span = max(float(high - low), 1e-6)
        total += np.minimum(np.abs(ours[:, None] - theirs[None, :]) / span, 1)
    return (total.min(axis=1) / (len(CODES) + len(NUMBERS))).astype(np.float64)


def plot_quality(quality: Quality) -> bytes:
    """PNG of the shapes by column and the distances to the closest real training row."""
    import io

    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), dpi=80, layout="constrained")
    left, right = figure.subplots(1, 2)
    ordered = sorted(quality.shapes.items(), key=lambda item: item[1])
    left.barh([name for name, _ in ordered], [score for _, score in ordered], color="#4a78a8")
    left.axvline(GOALS["quality"], color="#26425f", linestyle="--")
    left.set(title="Column shapes (1 = as in real data)", xlim=(min(0.8, ordered[0][1]), 1))
    left.tick_params(labelsize=7)
    for name, values in quality.distances.items():
        right.hist(values, bins=30, alpha=0.6, density=True, label=name)
    right.set(title="Distance to the closest real training row")
    right.legend()
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _train_and_score(rows: pd.DataFrame, holdout: pd.DataFrame, spec: FeatureSpec, seed: int, jobs: int) -> float:
    columns = extract_columns(rows)
    trees = fit_boosting(
        _to_training_rows(build_features(columns, spec), severe_label(columns["grav"])), FAST_BOOSTING, seed, jobs
    )
    return roc_auc(severe_label(holdout["grav"].to_numpy()), trees.margin(_build_matrix(holdout, spec)))


def _build_matrix(frame: pd.DataFrame, spec: FeatureSpec) -> NDArray[np.float32]:
    return build_features(extract_columns(frame), spec)


def _to_training_rows(x: NDArray[np.float32], y: NDArray[np.int8]) -> TrainingRows:
    return TrainingRows(x, y, np.ones(len(y), dtype=np.float32))


def _sample(frame: pd.DataFrame, max_rows: int, generator: np.random.Generator) -> pd.DataFrame:
    return frame if len(frame) <= max_rows else frame.iloc[np.sort(generator.permutation(len(frame))[:max_rows])]


def format_table(numbers: Mapping[str, Any]) -> str:
    """The numbers as a Markdown table."""
    rows = "\n".join(f"| {name} | {float(value):.4f} |" for name, value in numbers.items())
    return f"| measure | value |\n|---|---|\n{rows}"
