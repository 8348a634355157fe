"""Parameters of the candidates: the defaults, or those that the latest search found for this source and feature set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd

from accident_reco.lifecycle.bundle import sha256
from accident_reco.models.accidents.settings import AccidentSettings
from accident_reco.models.accidents.training.candidate import REAL, select_search_rows
from accident_reco.models.accidents.training.config import TrainingConfig
from accident_reco.models.accidents.training.fitting import BoostingParameters, ForestParameters, Parameters
from accident_reco.models.accidents.training.tuning import SPACE, tune
from accident_reco.storage.objects import ObjectNotFound, ObjectStore

KINDS: Final = tuple(SPACE)
"""Kinds of candidates."""


def get_tuned_key(model: str) -> str:
    """Object key of the document of a model's latest search."""
    return f"assets/{model}/tuned_parameters/all.json"


def select_parameters(
    settings: AccidentSettings, rows: int, tuned: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Parameters]:
    """Kind of candidate → its parameters; settings of trees, rounds and members take precedence.

    Args:
        rows: real rows of the training set; they determine trees and rounds where the settings do not.
        tuned: values by kind that a search chose; None: defaults.
    """
    chosen = tuned or {}
    trees = settings.accidents_forest_trees or min(max(rows // 500, 30), ForestParameters.trees)
    rounds = settings.accidents_boosting_rounds or min(max(rows // 100, 60), BoostingParameters.rounds)
    return {
        "forest": ForestParameters(**{**chosen.get("forest", {}), "trees": trees}),
        "boosting": BoostingParameters(
            **{**chosen.get("boosting", {}), "rounds": rounds, "members": settings.accidents_boosting_members}
        ),
    }


def read_tuned_parameters(
    store: ObjectStore, model: str, data_source: str, feature_set: str
) -> tuple[dict[str, Any] | None, str]:
    """Values by kind that the model's latest search chose for this source and feature set, and the reason.

    The values are None where no such search was run. The reason identifies the search by its hash.
    """
    try:
        raw = store.read(get_tuned_key(model))
    except ObjectNotFound:
        return None, "as shipped: no search was run"
    document = json.loads(raw)
    for name, ours in (("data_source", data_source), ("feature_set", feature_set)):
        if document[name] != ours:
            return None, f"as shipped: the search was on {name} {document[name]}, this is {ours}"
    chosen = {kind: document[kind]["chosen"] for kind in SPACE}
    return chosen, f"tuned on {document['people']:,} road users of {data_source}, search {sha256(raw)[:12]}"


def tune_candidates(features: pd.DataFrame, data_source: str, settings: AccidentSettings) -> dict[str, Any]:
    """Search the parameters of both candidates on the feature table; the document for `read_tuned_parameters`."""
    config = TrainingConfig.from_settings(settings)
    rows, num_acc, complete = select_search_rows(features)
    real_rows = int(np.count_nonzero(features["_origin"] == REAL))
    document: dict[str, Any] = {
        "data_source": data_source,
        "feature_set": config.feature_set,
        "people": real_rows,
        "seed": config.seed,
        "budget_seconds": settings.accidents_tuning_seconds,
    }
    for kind, start in select_parameters(settings, real_rows).items():
        budget = settings.accidents_tuning_seconds / len(SPACE)
        document[kind] = tune(rows, num_acc, complete, start, budget, config.seed, config.jobs).document()
    return document
