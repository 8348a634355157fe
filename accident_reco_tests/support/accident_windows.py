"""Windows of real road users, and a champion fitted on some of them, for drift verdicts on real data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from accident_reco.drift.verdict import Verdict, evaluate_drift
from accident_reco.lifecycle.holdout import in_holdout
from accident_reco.lifecycle.reference import ReferenceProfile, build_reference, read_reference
from accident_reco.models.accidents.data.victims import build_victims
from accident_reco.models.accidents.features.builder import FeatureSpec, build_features
from accident_reco.models.accidents.scoring.importances import read_importances
from accident_reco.models.accidents.scoring.scorer import FEATURES_FILE, TREES_FILE, AccidentScorer, DecisionRule
from accident_reco.models.accidents.synthesis.sequential import COLUMNS
from accident_reco.models.accidents.training.assembly import get_profile_kinds
from accident_reco.models.accidents.training.calibration import fit_decision_rule
from accident_reco.models.accidents.training.candidate import build_uncalibrated_scorer
from accident_reco.models.accidents.training.fitting import BoostingParameters, TrainingRows, fit_boosting
from accident_reco.models.accidents.training.training_rows import extract_columns, severe_label
from accident_reco_tests.bench.published import newest_year

WINTER: Final = 3
"""Last month of the winter quarter."""
MOTORCYCLES: Final = (2, 30, 31, 32, 33, 34, 41, 42, 43)
OUTSIDE_TOWNS: Final = 1


def load_road_users(directory: Path) -> pd.DataFrame:
    """Road users of the newest year in a directory of published files: accident number and model columns."""
    files, year = newest_year(str(directory))
    return build_victims(files, year).victims[["Num_Acc", *COLUMNS]].reset_index(drop=True)


def draw(road_users: pd.DataFrame, rows: int, seed: int) -> pd.DataFrame:
    """About `rows` road users: whole accidents in random order."""
    numbers = road_users["Num_Acc"].to_numpy()
    _, accident = np.unique(numbers, return_inverse=True)
    rank = np.random.default_rng(seed).permutation(accident.max() + 1)[accident]
    return road_users.iloc[np.argsort(rank, kind="stable")[:rows]]


def is_motorcyclist_outside(road_users: pd.DataFrame) -> pd.Series:
    """Which road users are on a moped or motorcycle outside of towns."""
    return road_users["catv"].isin(MOTORCYCLES) & (road_users["agg"] == OUTSIDE_TOWNS)


@dataclass(frozen=True)
class Champion:
    """A fitted version as drift checks see it."""

    reference: ReferenceProfile
    scorer: AccidentScorer
    importances: Mapping[str, float]

    @classmethod
    def fit(cls, road_users: pd.DataFrame, rounds: int) -> Champion:
        """Boosting on the road users outside of the holdout; the profile has the scores of the holdout."""
        held_out = in_holdout(road_users["Num_Acc"].to_numpy())
        known, holdout = extract_columns(road_users[~held_out]), extract_columns(road_users[held_out])
        spec = FeatureSpec.learn(known)
        matrix = build_features(known, spec, training_rows=True)
        label = severe_label(known["grav"]).astype(np.float32)
        rows = TrainingRows(matrix, label, np.ones(len(label), dtype=np.float32))
        trees = fit_boosting(rows, BoostingParameters(rounds=rounds), 0, 1)
        scorer, outcome = build_uncalibrated_scorer(trees, spec), severe_label(holdout["grav"])
        rule: DecisionRule = fit_decision_rule(
            scorer.margin(build_features(holdout, spec)), outcome, miss_cost=4.0, coverage=0.9, seed=0
        )
        scorer.rule = rule
        score = scorer.probability(holdout)
        kinds = get_profile_kinds(spec)
        profile = build_reference(known, kinds, groups=known["Num_Acc"], score=score, label=outcome)
        importances = read_importances({FEATURES_FILE: spec.to_json(), TREES_FILE: trees.to_npz()})
        return cls(read_reference(profile), scorer, importances)

    def check(self, road_users: pd.DataFrame) -> Verdict:
        """The verdict with default thresholds on a window of these road users."""
        columns = extract_columns(road_users)
        window = {name: columns[name] for name in self.reference.columns if name in columns}
        return evaluate_drift(
            self.reference,
            window,
            road_users["Num_Acc"].to_numpy(),
            self.scorer.probability(columns),
            importances=self.importances,
        )
