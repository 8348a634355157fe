"""The whole loop of the movie model through Dagster and the predict service: promotion and rejection."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from accident_reco.lifecycle.training_identity import describe_repetition
from accident_reco.models.movies.data.history import EMPTY_HISTORY
from accident_reco.models.movies.scoring.recommender import Recommender
from accident_reco.models.movies.scoring.simulate import FIRST_NEW_USER, simulate
from accident_reco.registry import get_model
from accident_reco.settings import Settings
from accident_reco.storage import drift_reports, retrain_decisions
from accident_reco.storage.work_requests import work_request
from accident_reco_tests.support.live import live, wait_for
from accident_reco_tests.support.movie_world import World
from accident_reco_tests.support.small_loop import tick
from serving.predict.app import create_app

WINDOW = 1_000
USERS = 100


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A champion of a small sample; reports and sensors of the loop beside the training."""
    chosen = {
        "MOVIES_SAMPLE_RATINGS": "6000",
        "DRIFT_WINDOW_ROWS": str(WINDOW),
        "DRIFT_SAMPLE_ROWS": "0",
        "RETRAIN_COOLDOWN_SECONDS": "0",
        "RETRAIN_IN_ONE_PROCESS": "true",
        "AUTH_REQUIRED": "false",
    }
    for name, value in chosen.items():
        monkeypatch.setenv(f"ACCIDENT_RECO_{name}", value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    world = World(tmp_path / "home")
    assert world.run("ingest_movies").success
    assert world.run("train_movies").success
    yield world
    world.close()


@pytest.fixture
def client(world: World) -> Iterator[httpx.Client]:
    """The predict service over the same home."""
    with live(create_app(Settings.load(home=world.platform.home))) as client:
        wait_for(lambda: client.get("/models/movies").json().get("champion"))
        yield client


def report(world: World) -> dict[str, Any]:
    """Report on the newest window as the schedule does."""
    assert world.run("report_movies_drift").success
    row = drift_reports.latest_report(world.platform.warehouse, "movies")
    assert row is not None
    return row


def report_drift(world: World, client: httpx.Client, path: str, bodies: list[dict[str, Any]]) -> dict[str, Any]:
    """Report drift after each call; returns the training request that follows."""
    for body in bodies:
        answer = client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        assert report(world)["status"] == "drift"
    tick(world.definitions, world.instance, "drift_reports")
    decided = list(reversed(retrain_decisions.decisions(world.platform.warehouse, "movies")))
    assert [(row["rule"], row["action"]) for row in decided] == [("hysteresis", "wait"), ("trigger", "train")]
    request = work_request(world.platform.warehouse, decided[-1]["request_id"])
    assert request is not None
    return request


def train(world: World, request: dict[str, Any]) -> dict[str, Any]:
    """Run what the request sensor requests; returns the request as the sensor closes it."""
    (run,) = tick(world.definitions, world.instance, "movies_training_requests").run_requests
    assert run.run_key == f"training:{request['id']}"
    job = world.definitions.resolve_job_def("train_movies")
    assert job.execute_in_process(instance=world.instance, tags=run.tags).success
    tick(world.definitions, world.instance, "movies_training_requests")
    ended = work_request(world.platform.warehouse, request["id"])
    assert ended is not None
    return ended


def served_version(client: httpx.Client) -> str:
    return str(client.post("/predict/movies", json={"user_id": 1, "count": 1}).json()["version"])


def changed_preferences(world: World) -> list[list[dict[str, Any]]]:
    """Two windows of ratings by new users: lower, and with other relations between movies; some are in the holdout."""
    champion = world.platform.models.champion("movies")
    assert champion is not None
    version = Recommender.from_files(world.platform.models.files(champion[1]))
    new_users = {FIRST_NEW_USER - 1 - nth: EMPTY_HISTORY for nth in range(USERS)}
    simulated = simulate(version, new_users, 2 * WINDOW, seed=5, shift=0.4, now=int(time.time()), holdout_share=0.0)
    other = dict(zip(version.movie_id, np.random.default_rng(5).permutation(version.movie_id), strict=True))
    rows = [
        {"user_id": int(user), "movie_id": int(other[movie]), "rating": float(stars)}
        for user, movie, stars in zip(simulated["user_id"], simulated["movie_id"], simulated["rating"], strict=True)
    ]
    half = len(rows) // 2
    return [rows[:half], rows[half:]]


def _other(batches: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """A rating that differs from the one sent before."""
    sent = batches[0][1]
    return {**sent, "rating": 4.5 if sent["rating"] < 4 else 1.0}


def test_changed_preferences_bring_a_new_champion(world: World, client: httpx.Client) -> None:
    """Real ratings with other preferences: drift twice, trained once, promoted, served."""
    first = served_version(client)
    model = get_model(world.platform.settings, "movies")
    assert "a training would give the same version" in (describe_repetition(model, world.platform) or "")
    batches = changed_preferences(world)
    ended = train(world, report_drift(world, client, "/feedback/movies", [{"ratings": batch} for batch in batches]))
    assert ended["status"] == "promoted", ended["outcome"]
    assert "gain +" in ended["outcome"]
    pointer = world.platform.models.pointer("movies")
    assert pointer is not None
    wait_for(lambda: served_version(client) == pointer.version)
    assert pointer.version != first
    # The new ratings were learnt from; one more is new data.
    assert f"those of the champion {pointer.version}" in (describe_repetition(model, world.platform) or "")
    assert client.post("/feedback/movies", json={"ratings": [_other(batches)]}).status_code == 200
    assert describe_repetition(model, world.platform) is None


def test_simulated_ratings_trigger_a_training_that_is_not_promoted(world: World, client: httpx.Client) -> None:
    """`/generate-ratings` shifts: drift twice, one training, rejected (the holdout has real ratings only), back-off."""
    first = served_version(client)
    bodies = [{"count": WINDOW, "seed": seed, "shift": 1.0} for seed in (1, 2)]
    ended = train(world, report_drift(world, client, "/generate-ratings", bodies))
    assert ended["status"] == "refused", ended["outcome"]
    assert "ndcg_at_10" in ended["outcome"]
    assert served_version(client) == first
    assert client.post("/generate-ratings", json={"count": WINDOW, "seed": 3, "shift": 1.0}).status_code == 200
    assert report(world)["status"] == "drift"
    skipped = tick(world.definitions, world.instance, "drift_reports")
    assert "backing off until" in skipped.skip_message
    assert served_version(client) == first
