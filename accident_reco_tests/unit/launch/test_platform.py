"""What the platform of one machine listens on."""

from __future__ import annotations

import pytest

from accident_reco.launch.platform import service_ports
from accident_reco.settings import Settings


@pytest.mark.parametrize(
    ("uri", "pages", "is_served_here"),
    [
        ("", "http://127.0.0.1:5001", True),
        ("postgresql://ada:secret@db/mlflow", "http://127.0.0.1:5001", True),
        ("https://ada:secret@dagshub.com/ada/repo.mlflow/", "https://dagshub.com/ada/repo.mlflow", False),
    ],
)
def test_pages_of_mlflow_are_the_servers_or_ours(
    monkeypatch: pytest.MonkeyPatch, uri: str, pages: str, is_served_here: bool
) -> None:
    """A tracking server has its own pages, so none is started beside it; a link to them has no password."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    settings = Settings.load(mlflow_port=5001)
    assert settings.mlflow_url == pages
    assert ("ACCIDENT_RECO_MLFLOW_PORT" in service_ports(settings)) is is_served_here
