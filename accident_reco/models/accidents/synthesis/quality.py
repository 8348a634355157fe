"""How good synthetic people are: their shapes, whether they can be told apart, what they teach, whom they resemble.

Everything is measured against real people of held-out accidents, whom the synthesizer never saw. Samples are bounded.
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
from accident_reco.models.accidents.features.location_features import COUNTS
from accident_reco.models.accidents.training.fitting import QUICK, TrainingRows, fit_boosting
from accident_reco.models.accidents.training.metrics import roc_auc
from accident_reco.models.accidents.training.training_rows import columns_of, severe_label

CODES: Final = ("catu", "catv", "grav", "sexe", "secu1", "trajet", "agg", "catr", "col", "int", "lum", "atm", "surf",
                "plan", "circ", "place", "other_kind")  # fmt: skip
NUMBERS: Final = ("an_nais", "vma", "hrmn", "lat", "long", "nb_users", "nb_vehicles")
REPORT_ROWS: Final = 10_000
TEACH_ROWS: Final = 40_000
CLOSEST_OF: Final = 10_000
CLOSEST_FOR: Final = 300

# Goals that the check holds the synthesizer to.
GOALS: Final[dict[str, float]] = {"quality": 0.95, "discriminator_auc": 0.65, "teaching_gap": 0.015}


@dataclass(frozen=True)
class Quality:
    """What was measured. `shapes` are per column; `distances` are to the closest real training person."""

    numbers: dict[str, float]
    shapes: dict[str, float]
    distances: dict[str, NDArray[np.float64]]

    @property
    def missed(self) -> list[str]:
        """Goals that were not reached, in words; a teaching gap counts only where it is more than noise."""
        n = self.numbers
        found = []
        if n["quality"] < GOALS["quality"]:
            found.append(f"quality {n['quality']:.3f} is below {GOALS['quality']}")
        if n["discriminator_auc"] > GOALS["discriminator_auc"]:
            found.append(f"discriminator AUC {n['discriminator_auc']:.3f} is above {GOALS['discriminator_auc']}")
        if n["teaching_gap"] > GOALS["teaching_gap"]:
            found.append(f"trained on synthetic people, ROC AUC is {n['teaching_gap']:.4f} lower than on real ones")
        return found


def measure(victims: pd.DataFrame, synthetic: pd.DataFrame, seed: int, jobs: int) -> Quality:
    """All measures. `victims` holds training and holdout people."""
    generator = np.random.default_rng(seed)
    held_out = in_holdout(victims["Num_Acc"].to_numpy())
    train, fresh = victims[~held_out], victims[held_out]
    quality, shapes = report_scores(_some(fresh, REPORT_ROWS, generator), _some(synthetic, REPORT_ROWS, generator))
    spec = FeatureSpec.learn(columns_of(train))
    taught = {
        name: _taught_auc(_some(rows, TEACH_ROWS, generator), fresh, spec, seed, jobs)
        for name, rows in (("real", train), ("synthetic", synthetic))
    }
    distances = {
        name: closest(_some(rows, CLOSEST_FOR, generator), _some(train, CLOSEST_OF, generator))
        for name, rows in (("synthetic", synthetic), ("holdout", fresh))
    }
    near = float(np.quantile(distances["holdout"], 0.05))
    numbers = {
        **quality,
        "discriminator_auc": discriminator_auc(fresh, synthetic, spec, seed, jobs),
        "auc_trained_on_real": taught["real"],
        "auc_trained_on_synthetic": taught["synthetic"],
        "teaching_gap": taught["real"] - taught["synthetic"],
        "distance_ratio": float(np.median(distances["synthetic"]) / max(np.median(distances["holdout"]), 1e-9)),
        # As many as 5 % of strangers are this near to a training person; more would mean copies.
        "share_suspiciously_near": float(np.mean(distances["synthetic"] < near)),
    }
    return Quality(numbers, shapes, distances)


def report_scores(real: pd.DataFrame, synthetic: pd.DataFrame) -> tuple[dict[str, float], dict[str, float]]:
    """sdmetrics' quality report: overall score with its two parts, and the shape score of each column."""
    from sdmetrics.reports import QualityReport

    names = [name for name in (*CODES, *NUMBERS) if name in real and name in synthetic]
    metadata = {"columns": {n: {"sdtype": "numerical" if n in NUMBERS else "categorical"} for n in names}}
    report = QualityReport()
    one_table = {"tables": {"people": metadata}, "relationships": []}
    report.generate({"people": _known(real[names])}, {"people": _known(synthetic[names])}, one_table, verbose=False)
    parts = dict(zip(*report.get_properties().to_numpy().T, strict=True))
    shapes = report.get_details("Column Shapes")
    return (
        {
            "quality": float(report.get_score()),
            "column_shapes": float(parts["Column Shapes"]),
            "pair_trends": float(parts["Column Pair Trends"]),
        },
        dict(zip(shapes["Column"].tolist(), shapes["Score"].astype(float).tolist(), strict=True)),
    )


def _known(frame: pd.DataFrame) -> pd.DataFrame:
    """Numbers with unknown as NaN; codes keep -1 as a category of its own."""
    return frame.assign(**{n: frame[n].astype(float).where(frame[n] != -1) for n in NUMBERS if n in frame})


def discriminator_auc(real: pd.DataFrame, synthetic: pd.DataFrame, spec: FeatureSpec, seed: int, jobs: int) -> float:
    """How well boosting tells unseen real people from synthetic ones, on people it was not fitted on (0.5: not)."""
    generator = np.random.default_rng(seed)
    rows = min(len(real), len(synthetic))
    x = np.concatenate([_features(_some(frame, rows, generator), spec) for frame in (real, synthetic)])
    # How many training accidents a place has says who lent it, not what the person is like.
    x[:, [spec.position[name] for name in COUNTS]] = np.nan
    y = np.repeat(np.array([0, 1], dtype=np.int8), rows)
    fitted = generator.random(2 * rows) < 0.5
    trees = fit_boosting(_rows(x[fitted], y[fitted]), QUICK, seed, jobs)
    return roc_auc(y[~fitted], trees.margin(x[~fitted]))


def closest(people: pd.DataFrame, others: pd.DataFrame) -> NDArray[np.float64]:
    """Gower distance of each person to the closest of the others, 0 (the same in every column) to 1."""
    total = np.zeros((len(people), len(others)), dtype=np.float32)
    for name in CODES:
        total += people[name].to_numpy()[:, None] != others[name].to_numpy()[None, :]
    for name in NUMBERS:
        ours, theirs = (np.nan_to_num(frame[name].to_numpy(np.float32)) for frame in (people, others))
        low, high = np.quantile(theirs, [0.01, 0.99])
        span = max(float(high - low), 1e-6)
        total += np.minimum(np.abs(ours[:, None] - theirs[None, :]) / span, 1)
    return (total.min(axis=1) / (len(CODES) + len(NUMBERS))).astype(np.float64)


def picture(quality: Quality) -> bytes:
    """Shapes by column and distances to the closest real person, as PNG."""
    import io

    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), dpi=80, layout="constrained")
    left, right = figure.subplots(1, 2)
    ordered = sorted(quality.shapes.items(), key=lambda item: item[1])
    left.barh([name for name, _ in ordered], [score for _, score in ordered], color="#4a78a8")
    left.axvline(GOALS["quality"], color="#26425f", linestyle="--")
    left.set(title="Column shapes (1 = as real)", xlim=(min(0.8, ordered[0][1]), 1))
    left.tick_params(labelsize=7)
    for name, values in quality.distances.items():
        right.hist(values, bins=30, alpha=0.6, density=True, label=name)
    right.set(title="Distance to the closest real training person")
    right.legend()
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _taught_auc(rows: pd.DataFrame, fresh: pd.DataFrame, spec: FeatureSpec, seed: int, jobs: int) -> float:
    columns = columns_of(rows)
    trees = fit_boosting(_rows(build_features(columns, spec), severe_label(columns["grav"])), QUICK, seed, jobs)
    return roc_auc(severe_label(fresh["grav"].to_numpy()), trees.margin(_features(fresh, spec)))


def _features(frame: pd.DataFrame, spec: FeatureSpec) -> NDArray[np.float32]:
    return build_features(columns_of(frame), spec)


def _rows(x: NDArray[np.float32], y: NDArray[np.int8]) -> TrainingRows:
    return TrainingRows(x, y, np.ones(len(y), dtype=np.float32))


def _some(frame: pd.DataFrame, most: int, generator: np.random.Generator) -> pd.DataFrame:
    return frame if len(frame) <= most else frame.iloc[np.sort(generator.permutation(len(frame))[:most])]


def table(numbers: Mapping[str, Any]) -> str:
    """The numbers as Markdown."""
    rows = "\n".join(f"| {name} | {float(value):.4f} |" for name, value in numbers.items())
    return f"| measure | value |\n|---|---|\n{rows}"
