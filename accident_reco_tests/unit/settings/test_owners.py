"""Who answers for a model's assets."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from accident_reco.defs.model_loop import build_loop
from accident_reco.registry import get_model
from accident_reco.settings import Settings, SettingsError


@pytest.mark.parametrize(
    ("stated", "accidents", "movies"),
    [
        ("", ["team:accidents"], ["team:movies"]),
        ("safety@example.org", ["safety@example.org"], ["safety@example.org"]),
        ("team:ml,movies=eve@example.org,movies=team:reco", ["team:ml"], ["eve@example.org", "team:reco"]),
    ],
)
def test_owners_by_setting(tmp_path: Path, stated: str, accidents: list[str], movies: list[str]) -> None:
    settings = Settings.load(home=tmp_path, owners=stated)
    assert (settings.list_owners("accidents"), settings.list_owners("movies")) == (accidents, movies)


def test_what_dagster_would_refuse_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="ACCIDENT_RECO_OWNERS"):
        Settings.load(home=tmp_path, owners="somebody")


def test_every_asset_has_them(tmp_path: Path) -> None:
    settings = Settings.load(home=tmp_path, owners="movies=eve@example.org")
    assets = build_loop(get_model(settings, "movies"), settings).assets or []
    owners = {spec.key: spec.owners for one in assets if isinstance(one, dg.AssetsDefinition) for spec in one.specs}
    assert len(owners) > 10
    assert {tuple(each) for each in owners.values()} == {("eve@example.org",)}
