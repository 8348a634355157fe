"""The commune nearest to a location."""

from __future__ import annotations

import pytest

from accident_reco.models.accidents.features.location_features import LocationStatistics
from accident_reco.models.accidents.scoring.communes import Communes

STATISTICS = LocationStatistics(
    communes={"59350": (900, 50.63, 3.06), "59606": (70, 50.36, 3.52), "2A004": (80, 41.93, 8.74)},
    departments={"59": (50.5, 3.2), "2A": (41.9, 8.8)},
    accidents=1050,
)


@pytest.mark.parametrize(
    ("lat", "long", "com", "dep"),
    [(50.6, 3.0, "59350", "59"), (50.3, 3.6, "59606", "59"), (42.0, 9.0, "2A004", "2A")],
)
def test_the_nearest_centre_is_found(lat: float, long: float, com: str, dep: str) -> None:
    """With its department from the code."""
    found = Communes(STATISTICS).find_nearest(lat, long)
    assert found is not None
    assert (found.com, found.dep) == (com, dep)


def test_distance_is_in_kilometres() -> None:
    """From Valenciennes's centre to Lille's: 44 km, although a degree to the east is shorter than one to the north."""
    communes = Communes(LocationStatistics(communes={"59350": (900, 50.63, 3.06)}))
    found = communes.find_nearest(50.36, 3.52)
    assert found is not None
    assert found.distance_km == pytest.approx(44.2, abs=0.3)
    assert found.accidents == 900


def test_without_communes_there_is_none() -> None:
    """A version trained on rows without communes."""
    assert Communes(LocationStatistics()).find_nearest(46, 2) is None
