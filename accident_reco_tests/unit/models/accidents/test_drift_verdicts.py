"""Default drift verdicts on real road users: seasons warn, drift that matters alarms, equal windows do not."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from accident_reco_tests.support.accident_windows import (
    WINTER,
    Champion,
    draw,
    is_motorcyclist_outside,
    load_road_users,
)

pytestmark = pytest.mark.slow

WINDOW = 3000


@pytest.fixture(scope="module")
def road_users(baac_dir: Path) -> pd.DataFrame:
    return load_road_users(baac_dir / "2024")


@pytest.fixture(scope="module")
def champion(road_users: pd.DataFrame) -> Champion:
    """Fitted on the months after the winter quarter, the hardest case for a window of that quarter."""
    return Champion.fit(road_users[road_users["mois"] > WINTER], rounds=25)


def test_a_winter_quarter_is_amber(champion: Champion, road_users: pd.DataFrame) -> None:
    """Light, weather and surface change, which is named; they matter little to the model, and no model repairs them."""
    verdict = champion.check(road_users[road_users["mois"] <= WINTER])
    assert verdict.status == "warning"
    assert {"lum", "atm", "surf"} <= set(verdict.drifted)
    assert verdict.drifted_importance is not None
    assert verdict.drifted_importance < 0.1
    assert verdict.prediction is not None
    assert abs(verdict.prediction.comparison.shift) < 0.2


def test_motorcyclists_outside_of_towns_are_red(champion: Champion, road_users: pd.DataFrame) -> None:
    """Riders are 40 % of the window: few features drift, but those that matter, and the mean prediction moves."""
    riders = road_users[is_motorcyclist_outside(road_users)]
    window = pd.concat([draw(riders, 2 * WINDOW // 5, 1), draw(road_users, 3 * WINDOW // 5, 2)])
    verdict = champion.check(window)
    assert verdict.drifted_share < 0.5
    assert verdict.status == "drift"
    assert verdict.reason.startswith("the predictions drifted: mean 0.1")
    mostly = champion.check(pd.concat([draw(riders, 4 * WINDOW // 5, 1), draw(road_users, WINDOW // 5, 2)]))
    assert mostly.status == "drift"
    assert "of the model's importance, at or above the threshold of 50%" in mostly.reason


@pytest.mark.parametrize(("windows", "rows"), [(10, WINDOW), pytest.param(200, 1000, marks=pytest.mark.slow)])
def test_windows_like_the_training_data_are_green(
    champion: Champion, road_users: pd.DataFrame, windows: int, rows: int
) -> None:
    """No window alarms; at most one in twenty is amber, where a small window has by chance a bus or one department."""
    known = road_users[road_users["mois"] > WINTER]
    found = Counter(champion.check(draw(known, rows, seed)).status for seed in range(windows))
    assert found["drift"] == 0
    assert found["stable"] >= 0.95 * windows
