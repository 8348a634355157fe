"""The sensor of movie files: new, replaced and unreadable files of a folder."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from accident_reco.defs.resources import Platform
from accident_reco.models.movies.assets import ingest
from accident_reco.models.movies.assets.sensors import build_source_sensor
from accident_reco.models.movies.data import raw_store
from accident_reco.models.movies.data.sources import open_source
from accident_reco.models.movies.settings import MovieSettings
from accident_reco.settings import Settings

SENSOR = build_source_sensor(Settings.load(movies_watch_seconds=7).of(MovieSettings))
RATINGS = "userId,movieId,rating,timestamp\n1,1,4.0,964982703\n"
MOVIES = "movieId,title,genres\n1,Toy Story (1995),Comedy\n"
STORED = ([], "the files that the source offers are stored")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    published = tmp_path / "published"
    published.mkdir()
    (published / "ratings.csv").write_text(RATINGS)
    (published / "movies.csv").write_text(MOVIES)
    monkeypatch.setenv("ACCIDENT_RECO_MOVIES_SOURCE", str(published))
    return published


@pytest.fixture
def platform(tmp_path: Path, folder: Path) -> Platform:
    return Platform(home=str(tmp_path / "home"))


def _tick(platform: Platform, cursor: str | None = None) -> tuple[list[str], str]:
    """Run keys, and the reason for a skip."""
    definitions = dg.Definitions(
        assets=[ingest.movie_files, ingest.warehouse_tables],
        jobs=[ingest.ingest_movies],
        sensors=[SENSOR],
        resources={"platform": platform},
    )
    with dg.build_sensor_context(definitions=definitions, resources={"platform": platform}, cursor=cursor) as context:
        data = SENSOR.evaluate_tick(context)
        return [str(request.run_key) for request in data.run_requests or []], data.skip_message or ""


def _fetch(platform: Platform) -> None:
    with closing(open_source(platform.settings.of(MovieSettings))) as source:
        raw_store.fetch_raw(platform.objects, source, "raw_ratings")
        raw_store.fetch_raw(platform.objects, source, "raw_movies")


def test_new_stored_and_replaced_files(platform: Platform, folder: Path) -> None:
    """Requested once per version of the files, with another key when an earlier version comes back."""
    first, _ = _tick(platform)
    assert first[0].startswith("ingest:directory:")
    assert _tick(platform)[0] == first
    _fetch(platform)
    assert _tick(platform) == STORED
    (folder / "ratings.csv").write_text(RATINGS + "1,2,3.0,964982704\n")
    replaced, _ = _tick(platform)
    assert replaced not in ([], first)
    _fetch(platform)
    assert _tick(platform) == STORED


def test_a_new_catalogue_is_noticed_too(platform: Platform, folder: Path) -> None:
    """Titles may be corrected without new ratings."""
    _fetch(platform)
    (folder / "movies.csv").write_text(MOVIES + "2,Jumanji (1995),Adventure\n")
    assert len(_tick(platform)[0]) == 1


def test_an_absent_source_is_a_reason_to_skip(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a failure of the sensor; a server is asked once an hour."""
    monkeypatch.setenv("ACCIDENT_RECO_MOVIES_SOURCE", "/nowhere/ml")
    keys, reason = _tick(Platform(home=platform.home))
    assert keys == []
    assert "/nowhere/ml" in reason
    monkeypatch.setenv("ACCIDENT_RECO_MOVIES_SOURCE", "https://data.example/ml")
    assert "less than an hour ago" in _tick(Platform(home=platform.home), cursor=str(time.time() - 60))[1]


def test_interval_follows_the_setting() -> None:
    """A demonstration uses a short one."""
    assert SENSOR.minimum_interval_seconds == 7
