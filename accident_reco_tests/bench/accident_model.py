"""What each part of the accident model's configuration is worth: cross-validation by accident on training rows.

`python -m accident_reco_tests.bench.accident_model DIRECTORY [--fold N N] [--only NAME,NAME]` with a directory of real
BAAC files. Nobody of the frozen holdout is scored or learnt from: choices are made by this, and the holdout is read
once, by the version that came of them. Prints a Markdown table: ROC AUC and average precision of held-out folds,
and ROC AUC with 30 and 50 % of the fields unknown. A minute of one core for every line and fold.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any, Final

import numpy as np
import pandas as pd

from accident_reco.lifecycle.holdout import in_holdout
from accident_reco.models.accidents.data.victims import build_victims
from accident_reco.models.accidents.features.builder import build_features
from accident_reco.models.accidents.features.location_features import LOCATION_FEATURES
from accident_reco.models.accidents.features.severity_rates import RATE_FEATURES
from accident_reco.models.accidents.synthesis.sequential import COLUMNS, Synthesizer
from accident_reco.models.accidents.training.candidate import (
    SYNTHETIC,
    TrainingConfig,
    build_feature_frame,
    build_training_frame,
    extract_rows,
    learn_spec,
)
from accident_reco.models.accidents.training.export import compute_margins
from accident_reco.models.accidents.training.fitting import BoostingParameters, ForestParameters, fit
from accident_reco.models.accidents.training.metrics import average_precision, roc_auc
from accident_reco.models.accidents.training.training_rows import extract_columns, mask_fields, severe_label
from accident_reco.models.accidents.training.tuning import assign_folds
from accident_reco_tests.bench.published import newest_year

FOLDS: Final = 5
SEED: Final = 7
MISSING_RATES: Final = (0.0, 0.3, 0.5)


@dataclass(frozen=True)
class Variant:
    """One line of the table: differences from the shipped configuration and parameters; `without`: unknown features."""

    words: str
    config: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    algorithm: str = "boosting"
    synthetic_only: bool = False
    without: tuple[str, ...] = ()


PLAIN: Final = {"soft_label_weight": 0.0}
WHOLE: Final = {**PLAIN, "max_missing_fraction": 0.0}
ALONE: Final = {"members": 1, "rounds": 500, "rate": 0.05}
VARIANTS: Final[dict[str, Variant]] = {
    "bare": Variant(
        "one booster, real road users only, recorded labels, no simulated missing values",
        {**WHOLE, "synthetic_weight": 0.0},
        ALONE,
    ),
    "synthetic": Variant(
        "the same on synthetic road users only", {**WHOLE, "synthetic_weight": 1.0}, ALONE, synthetic_only=True
    ),
    "missing": Variant("one booster, simulated missing values", {**PLAIN, "synthetic_weight": 0.0}, ALONE),
    "mix": Variant("… and synthetic road users at weight 0.05", PLAIN, ALONE),
    "heavy": Variant("… at weight 0.2", {**PLAIN, "synthetic_weight": 0.2}, ALONE),
    "equal": Variant("… at weight 1", {**PLAIN, "synthetic_weight": 1.0}, ALONE),
    "slow": Variant("weight 0.05, 800 rounds at rate 0.03", PLAIN, {**ALONE, "rounds": 800, "rate": 0.03}),
    "soft": Variant("weight 0.05, soft labels at weight 0.5", {}, ALONE),
    "soft_alone": Variant("weight 0.05, soft labels alone", {"soft_label_weight": 1.0}, ALONE),
    "pair": Variant("recorded labels, two boosters, one of random trees", PLAIN),
    "shipped": Variant("soft labels at weight 0.5, two boosters (default)"),
    "unrated": Variant("the same without severity rates", without=RATE_FEATURES),
    "unplaced": Variant("the same without diagonals and accidents around", without=LOCATION_FEATURES[4:]),
    "forest": Variant("forest, recorded labels", PLAIN, algorithm="forest"),
    "soft_forest": Variant("forest, soft labels at weight 0.5 (default)", algorithm="forest"),
}


def main() -> int:
    """Prints one line per variant, once all of its folds are done."""
    parser = argparse.ArgumentParser(description="What each part of the accident model's configuration is worth.")
    parser.add_argument("directory")
    parser.add_argument("--fold", type=int, nargs="+", default=list(range(FOLDS)), help="which folds to score")
    parser.add_argument("--only", default=",".join(VARIANTS))
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    rows = load_training_rows(options.directory)
    fold = assign_folds(rows["Num_Acc"].to_numpy(), FOLDS, SEED)
    _print(f"{len(rows):,} training rows, folds {options.fold} of {FOLDS} by accident\n")
    names = options.only.split(",")
    measured: dict[str, list[list[float]]] = {name: [] for name in names}
    for number in options.fold:
        inside, outside = rows[fold != number], rows[fold == number]
        synthetic = Synthesizer(seed=20, jobs=options.jobs).synthesize(inside, len(inside))
        training = build_training_frame(inside, synthetic, 0.5, SEED)
        # Most lines share their rows with others: the models of the soft labels cost as much as the candidates.
        table = cache(partial(build_feature_frame, training))
        for name in names:
            started = time.perf_counter()
            config = replace(TrainingConfig(jobs=options.jobs), **VARIANTS[name].config)
            measured[name].append(measure(VARIANTS[name], config, training, table(config), outside))
            shown = " ".join(f"{value:.4f}" for value in measured[name][-1])
            sys.stderr.write(f"fold {number} {name}: {shown} in {time.perf_counter() - started:.0f} s\n")
    _print("| what | ROC AUC | AP | 30 % | 50 % |\n|---|---|---|---|---|")
    for name in names:
        auc, precision, *masked = np.mean(measured[name], axis=0)
        _print(f"| {VARIANTS[name].words} | {auc:.4f} | {precision:.3f} | {masked[0]:.3f} | {masked[1]:.3f} |")
    return 0


def load_training_rows(directory: str) -> pd.DataFrame:
    """Everybody of the newest year in the directory who is not of the holdout."""
    files, year = newest_year(directory)
    victims = build_victims(files, year).victims
    return victims.loc[~in_holdout(victims["Num_Acc"].to_numpy()), ["Num_Acc", *COLUMNS]].reset_index(drop=True)


def measure(
    variant: Variant, config: TrainingConfig, training: pd.DataFrame, table: pd.DataFrame, outside: pd.DataFrame
) -> list[float]:
    """ROC AUC, average precision, and ROC AUC with missing values, of rows outside of the fold."""
    if variant.synthetic_only:
        table = table[table["_origin"] == SYNTHETIC]
    default = ForestParameters() if variant.algorithm == "forest" else BoostingParameters()
    rows, _ = extract_rows(table.assign(**dict.fromkeys(variant.without, np.nan)))
    trees = fit(rows, replace(default, **variant.parameters), config.seed, config.jobs)
    spec, columns = learn_spec(training, config.feature_set), extract_columns(outside)
    label = severe_label(columns["grav"])
    margins = []
    for share in MISSING_RATES:
        generator = np.random.default_rng([SEED, int(share * 100)])
        matrix = build_features(mask_fields(columns, spec.columns, share, generator), spec)
        matrix[:, [spec.position[name] for name in variant.without]] = np.nan
        margins.append(compute_margins(trees, matrix))
    whole, *masked = margins
    return [
        roc_auc(label, whole),
        average_precision(label, whole),
        *(roc_auc(label, margin) for margin in masked),
    ]


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
