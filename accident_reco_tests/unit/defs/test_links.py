"""Links in metadata: the addresses of the settings, and nothing where there is nothing to open."""

from __future__ import annotations

import dagster as dg

from accident_reco.defs.links import describe_object, link_report, link_tracked_run, link_version, show_url
from accident_reco.settings import Settings


def test_public_addresses() -> None:
    """Behind a proxy the pages have other addresses than the services call."""
    settings = Settings.load(
        public_console_url="https://console.example/",
        public_mlflow_url="https://mlflow.example/",
        mlflow_tracking_uri="http://mlflow:5000",
        store_url="s3://bucket/prefix/",
    )
    assert _show(link_version(settings, "movies", "abc")) == {
        "console": "https://console.example/models/movies/versions/abc"
    }
    assert _show(link_version(settings, "movies", None)) == {"console": "https://console.example/models/movies"}
    assert _show(link_report(settings, "movies", "r1")) == {
        "console": "https://console.example/drift/movies/reports/r1"
    }
    assert _show(link_tracked_run(settings, "f00")) == {"mlflow": "https://mlflow.example/#/runs/f00"}
    assert describe_object(settings, "a/b") == {"dagster/uri": "s3://bucket/prefix/a/b"}


def test_addresses_of_this_machine() -> None:
    """The embedded platform's pages; a password of the tracking server is in no link; a spooled run has no page."""
    settings = Settings.load(console_port=8102, mlflow_port=5100)
    assert _show(link_version(settings, "movies", "abc")) == {
        "console": "http://127.0.0.1:8102/models/movies/versions/abc"
    }
    assert _show(link_tracked_run(settings, "f00")) == {"mlflow": "http://127.0.0.1:5100/#/runs/f00"}
    assert link_tracked_run(settings, None) == {}
    server = Settings.load(mlflow_tracking_uri="https://me:secret@dagshub.example/me/repo.mlflow")
    assert _show(link_tracked_run(server, "f00")) == {"mlflow": "https://dagshub.example/me/repo.mlflow/#/runs/f00"}


def test_only_browsers_addresses_are_links() -> None:
    """A generated or local file has no page."""
    assert isinstance(show_url("https://data.example/a.csv"), dg.UrlMetadataValue)
    assert isinstance(show_url("sample:2023"), dg.TextMetadataValue)


def _show(metadata: dict[str, dg.MetadataValue]) -> dict[str, object]:
    assert all(isinstance(value, dg.UrlMetadataValue) for value in metadata.values())
    return {name: value.value for name, value in metadata.items()}
