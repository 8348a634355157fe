"""Raw columns behind features and context columns, as the computation itself shows them."""

from __future__ import annotations

import numpy as np
import pytest

from accident_reco.models.accidents.features.builder import CODES, FeatureSpec
from accident_reco.models.accidents.features.context_columns import CONTEXT_COLUMNS
from accident_reco.models.accidents.features.sources import find_context_sources, find_feature_sources
from accident_reco_tests.support.real_accidents import random_columns

OF_FEATURES = {
    "age": ("an", "an_nais"),
    "hour": ("hrmn",),
    "weekday": ("mois", "an", "jour"),
    "commune_accidents": ("com",),
    "accidents_near": ("lat", "long"),
    "speed_change": ("catu", "catv", "other_kind", "vma"),
    "belt": ("secu1", "secu2", "secu3"),
    "opponent_rate": ("catu", "catv", "other_kind"),
}


@pytest.mark.parametrize("feature_set", ["call", "full"])
def test_sources_of_features(feature_set: str) -> None:
    """Every feature has its columns and no other; a code is its own. Also in rows of a single year."""
    obstacles = dict.fromkeys(CODES["full"], np.arange(600) % 5)
    columns = {**obstacles, **random_columns(600), "an": np.full(600, 2023)}
    spec = FeatureSpec.learn(columns, feature_set, np.arange(600) % 2)
    found = find_feature_sources(columns, spec)
    assert tuple(found) == spec.names
    assert {name: found[name] for name in CODES[feature_set]} == {name: (name,) for name in CODES[feature_set]}
    assert {name: set(found[name]) for name in OF_FEATURES} == {name: set(of) for name, of in OF_FEATURES.items()}
    assert [name for name, sources in found.items() if not sources] == []


def test_sources_of_context_columns() -> None:
    """Counts of rows have none but the accident; all others come from road users or vehicles."""
    found = find_context_sources()
    assert set(found) == set(CONTEXT_COLUMNS)
    assert {name for name, sources in found.items() if not sources} == {"nb_users", "nb_vehicles"}
    assert found["nb_heavy"] == found["other_kind"] == ("catv",)
    assert found["driver_sexe"] == ("catu", "sexe")
    assert found["nb_unknown_users"] == ("sexe", "an_nais")
    assert found["others_unprotected"] == ("catu", "secu1", "secu2", "secu3")
