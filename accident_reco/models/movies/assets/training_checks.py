"""Blocking checks of a movie training. Each runs in to its asset's own step: one more would start a process."""

import dagster as dg
import numpy as np
import pandas as pd

from accident_reco.defs.resources import Platform
from accident_reco.lifecycle.bundle import Bundle
from accident_reco.lifecycle.gate import Evaluation, decide
from accident_reco.lifecycle.holdout import pairs_in_holdout
from accident_reco.lifecycle.reference import read_reference
from accident_reco.models.movies.data.ratings import pair_keys
from accident_reco.models.movies.scoring.recommender import Recommender, Wishes
from accident_reco.models.movies.training import assembly

LEAST_TRAIN, LEAST_HOLDOUT = 500, 100


SPLIT = dg.AssetCheckSpec(
    "nobody_trains_on_the_holdout", asset=["movies", "ratings_split"], blocking=True,
    description="No pair trains and judges; enough rows of both.",
)  # fmt: skip
CANDIDATE = dg.AssetCheckSpec(
    "movie_candidate_complete", asset=["movies", "candidate_model"], blocking=True,
    description="Complete and readable; a warning when it is below the floor, for which the gate will refuse it.",
)  # fmt: skip
CHAMPION = dg.AssetCheckSpec(
    "movie_champion_answers", asset=["movies", "production_model"], blocking=True,
    description="The version that the pointer names loads and answers.",
)  # fmt: skip


def _result(
    spec: dg.AssetCheckSpec,
    passed: bool,
    description: str,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=passed, check_name=spec.name, severity=severity, description=description)


def nobody_trains_on_the_holdout(platform: Platform, ratings_split: pd.DataFrame) -> dg.AssetCheckResult:
    """A held-out rating in training would make every later number a lie."""
    held = ratings_split[assembly.HOLDOUT].to_numpy(dtype=bool)
    user, movie = ratings_split["user_id"].to_numpy(np.int64), ratings_split["movie_id"].to_numpy(np.int64)
    wrong = int((pairs_in_holdout(user, movie, platform.settings.movies_holdout_share) != held).sum())
    # Sorted: most keys are there once, and numpy's `unique` goes by a table of hashes, ten times as long.
    repeated = int((np.diff(np.sort(pair_keys(user, movie))) == 0).sum())
    enough = (~held).sum() >= LEAST_TRAIN and held.sum() >= LEAST_HOLDOUT
    return _result(
        SPLIT,
        wrong == 0 and repeated == 0 and bool(enough),
        f"{(~held).sum():,} rows train, {held.sum():,} judge (at least {LEAST_TRAIN} and {LEAST_HOLDOUT} are needed); "
        f"{wrong} on the wrong side, {repeated} pairs twice",
    )


def movie_candidate_complete(platform: Platform, candidate_model: Bundle) -> dg.AssetCheckResult:
    """It loads and answers. Of its worth the gate's own function warns: the gate refuses, and records why."""
    version = Recommender.from_files(candidate_model.files)
    read_reference(candidate_model.files["reference.json"])
    if not candidate_model.files["card.md"]:
        return _result(CANDIDATE, False, "the model card is empty")
    for user in (int(version.user_id[0]), None):
        answer = version.recommend(user, Wishes(count=10))
        if not answer.picks or not np.isfinite([pick.score for pick in answer.picks]).all():
            return _result(CANDIDATE, False, f"the bundle does not answer for user {user}: {answer.note}")
    policy = assembly.policy_of(platform.settings)
    decision = decide(Evaluation(candidate_model.version, candidate_model.metrics), None, None, policy)
    return _result(CANDIDATE, decision.promote, decision.reason, dg.AssetCheckSeverity.WARN)


def movie_champion_answers(platform: Platform) -> dg.AssetCheckResult:
    """Verified bytes and an answer for a stranger."""
    champion = platform.models.champion("movies")
    if champion is None:
        return _result(CHAMPION, False, "no version serves yet: the gate refused the first candidate")
    version = Recommender.from_files(platform.models.files(champion[1]), champion[1])
    return _result(CHAMPION, bool(version.recommend(None, Wishes()).picks), f"{champion[1].version} answers")
