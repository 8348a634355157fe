"""A home of its own for each test, with a migrated warehouse to copy."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from accident_reco.settings import Settings
from accident_reco.storage.warehouse import Warehouse


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of the commands; it does not exist yet."""
    monkeypatch.setenv("ACCIDENT_RECO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path / "home"


@pytest.fixture
def warehouse(home: Path, migrated_home: Path) -> Iterator[Warehouse]:
    """The migrated warehouse of `home`."""
    shutil.copytree(migrated_home, home)
    made = Warehouse(Settings.load(home=home).database)
    yield made
    made.close()
