"""What several folders of unit tests use."""

from __future__ import annotations

from pathlib import Path

import pytest

from accident_reco.settings import Settings
from accident_reco.storage.warehouse import Warehouse


@pytest.fixture(scope="session")
def migrated_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an empty warehouse, to copy: migrations take longer than all that is tested on them."""
    folder = tmp_path_factory.mktemp("migrated")
    made = Warehouse(Settings.load(home=folder).database)
    made.upgrade()
    made.close()
    return folder
