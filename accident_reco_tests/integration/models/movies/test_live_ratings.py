"""New ratings as a window, and live performance of a champion that needs the users' histories."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from accident_reco.drift.performance import live_performance
from accident_reco.drift.window import Labelled, Windows
from accident_reco.lifecycle.bundle import Manifest
from accident_reco.lifecycle.platform import OpenedPlatform
from accident_reco.lifecycle.reference import ReferenceProfile, read_reference
from accident_reco.models.movies.candidates.candidate import FitOptions
from accident_reco.models.movies.data import queries
from accident_reco.models.movies.data.history import History
from accident_reco.models.movies.data.ingest import SourceFile, import_files
from accident_reco.models.movies.data.ratings import RatingScale
from accident_reco.models.movies.data.sample import SampleSpec, generate_movies_csv, generate_ratings_csv
from accident_reco.models.movies.data.split import SplitOptions
from accident_reco.models.movies.model import MODEL
from accident_reco.models.movies.monitoring import build_windows, predict_same_ratings
from accident_reco.models.movies.scoring.recommender import Recommender
from accident_reco.models.movies.training import loading, reference_profile
from accident_reco.models.movies.training.candidate_training import TrainingOptions, TrainingRows, train_candidate
from accident_reco.settings import Settings
from accident_reco.storage.objects import open_store
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.movie_ratings import read_table

NEW_USER = 900_001
"""A user without ratings when the champion was trained."""
NEW_MOVIE = 900_002
"""A movie that is not in the catalogue."""
Row = tuple[int, int, float]


def file(name: str, content: bytes) -> SourceFile:
    return SourceFile(name, name, lambda: io.BytesIO(content))


def receive(warehouse: Warehouse, rows: list[Row], received_at: int, simulated: bool = False) -> None:
    """Write ratings as the API does."""
    user, movie, stars = zip(*rows, strict=True)
    columns = {
        "user_id": np.array(user),
        "movie_id": np.array(movie),
        "rating": np.array(stars),
        "rated_at": np.full(len(rows), received_at // 1000),
    }
    queries.add_ratings(warehouse, columns, simulated=simulated, received_at=received_at)


@dataclass
class World:
    """A warehouse, a KNN champion trained from it as a training run does, and the ratings that it had read."""

    settings: Settings
    warehouse: Warehouse
    manifest: Manifest
    files: dict[str, bytes]
    reference: ReferenceProfile
    read_until: int
    known: dict[int, dict[int, float]]
    """User → movie → stars, before any rating of a test."""
    movies: list[int]

    def windows(self) -> Windows:
        return build_windows(OpenedPlatform(self.settings, self.warehouse), self.manifest, self.files)

    def unrated(self, user: int, count: int) -> list[int]:
        """Movies that a user has not rated."""
        return [movie for movie in self.movies if movie not in self.known.get(user, {})][:count]

    def predict(self, user: int, movies: list[int], history: dict[int, float]) -> list[float]:
        """Predictions of the bundle for one user with a history."""
        bundle = Recommender.from_files(self.files)
        rated = History.from_ratings(list(history), list(history.values()))
        return bundle.predict(user, np.array(movies), rated).tolist()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Trained once; tests work on copies of its warehouse."""
    settings = Settings.load(home=tmp_path_factory.mktemp("live"), drift_window_rows=600)
    warehouse = Warehouse(settings.database)
    warehouse.upgrade()
    store = open_store(settings.store)
    spec = SampleSpec(ratings=6_000, seed=3)
    names = (file("ratings.csv", b"".join(generate_ratings_csv(spec))), file("movies.csv", generate_movies_csv(spec)))
    import_files(warehouse, store, *names, "sample", int(time.time()))
    read_until = int(time.time() * 1000) - 3_600_000
    by_user = read_table(warehouse)["user_id"]
    some = np.unique(by_user)[:30].tolist()
    movies = [row[0] for row in queries.read_movies(warehouse)]
    rows = queries.read_user_histories(warehouse, some, newer_than=0)
    free = {user: [m for m in movies if m not in set(rows[user]["movie_id"].tolist())] for user in some}
    receive(warehouse, [(user, free[user][0], 5.0) for user in some], read_until - 60_000)
    receive(warehouse, [(user, free[user][1], 0.5) for user in some], read_until, simulated=True)

    loaded = loading.load_split(store, warehouse, SplitOptions(), 10**6)
    parts, received_until = loaded.split, loaded.received_until
    assert (loaded.simulated, received_until, loaded.sample) == (len(some), read_until, None)
    rated = TrainingRows(parts.train, parts.holdout, loading.load_catalogue(warehouse), RatingScale())
    lineage = {"data_source": "sample", "sources": [], "ratings_received_until": received_until}
    bundle = train_candidate("knn", rated, TrainingOptions(FitOptions(seed=1)), lineage).bundle
    everything = read_table(warehouse)
    known: dict[int, dict[int, float]] = {}
    for user, movie, stars in zip(*(everything[n].tolist() for n in ("user_id", "movie_id", "rating")), strict=True):
        known.setdefault(user, {})[movie] = stars
    warehouse.close()
    return World(
        settings,
        warehouse,
        bundle.manifest("now"),
        dict(bundle.files),
        read_reference(reference_profile.build_profile(parts.train, "sample")),
        read_until,
        known,
        movies,
    )


@pytest.fixture
def world(trained: World, tmp_path: Path) -> Iterator[World]:
    """A world of a test's own."""
    own = Settings.load(home=tmp_path, drift_window_rows=trained.settings.drift_window_rows)
    shutil.copy(trained.settings.home / "warehouse.db", tmp_path)
    shutil.copytree(trained.settings.home / "store", tmp_path / "store")
    warehouse = Warehouse(own.database)
    yield replace(trained, settings=own, warehouse=warehouse)
    warehouse.close()


def test_live_performance_is_predicted_with_histories(world: World) -> None:
    """Predictions use the known histories; without them they differ."""
    now = int(time.time() * 1000)
    users = sorted(world.known)[:40]
    new = {user: world.unrated(user, 6) for user in users}
    # Early in the window or late: no rating of the window may influence the prediction of another.
    for nth in range(6):
        receive(world.warehouse, [(user, new[user][nth], 1.0 + nth % 5) for user in users], now - 60_000 + nth * 1_000)
    live = world.windows().current.labelled
    assert live is not None
    assert live.groups.tolist() == [user for user in users for _ in range(6)]
    expected = [stars for user in users for stars in world.predict(user, sorted(new[user]), world.known[user])]
    np.testing.assert_allclose(live.score, expected, rtol=0, atol=1e-6)
    place = {(user, movie): nth for user in users for nth, movie in enumerate(new[user])}
    truth = [1.0 + place[user, movie] % 5 for user in users for movie in sorted(new[user])]
    assert live.truth.tolist() == truth

    without_history = [stars for user in users for stars in world.predict(user, sorted(new[user]), {})]
    assert np.abs(live.score - without_history).max() > 0.2
    leaked = [
        stars
        for user in users
        for stars in world.predict(
            user, sorted(new[user]), world.known[user] | {m: 1.0 + n % 5 for n, m in enumerate(new[user])}
        )
    ]
    assert np.abs(live.score - leaked).max() > 0.2
    measured = live_performance(MODEL.task, live, world.manifest.metrics, 0.03)
    assert measured.metrics["rmse"]["value"] == pytest.approx(np.sqrt(np.mean((np.array(expected) - truth) ** 2)))


def test_training_ratings_are_no_live_performance(world: World) -> None:
    """Ratings received before its rows were read are in the window, without live performance."""
    window = world.windows().current
    assert window.rows == 60
    assert window.labelled is None
    user = min(world.known)
    movies = world.unrated(user, 3)
    receive(world.warehouse, [(user, movies[0], 3.0)], world.read_until)
    receive(world.warehouse, [(user, movies[1], 4.0)], world.read_until + 1)
    receive(world.warehouse, [(user, movies[2], 2.0)], world.read_until + 2, simulated=True)
    live = world.windows().current.labelled
    assert live is not None
    assert (live.truth.tolist(), live.groups.tolist()) == ([4.0], [user])
    # The rating of that very moment was read by the training: it is known, the later ones are not.
    assert live.score.tolist() == pytest.approx(world.predict(user, [movies[1]], world.known[user] | {movies[0]: 3.0}))


def test_new_users_are_excluded_and_new_movies_get_the_user_mean(world: World) -> None:
    """New users have no counterpart in the holdout; a new movie gets the user's own mean; a rating that was changed
    since counts with its new stars, and the old ones are no longer known.
    """
    user = min(world.known)
    changed = next(iter(world.known[user]))
    stars = world.known[user][changed] % 5 + 0.5
    rows = [(NEW_USER, world.movies[0], 5.0), (user, NEW_MOVIE, 2.0), (user, changed, stars)]
    receive(world.warehouse, rows, int(time.time() * 1000) - 1_000)
    live = world.windows().current.labelled
    assert live is not None
    assert live.groups.tolist() == [user, user]
    history = {movie: value for movie, value in world.known[user].items() if movie != changed}
    assert live.truth.tolist() == [stars, 2.0]
    assert live.score.tolist() == pytest.approx(world.predict(user, [changed, NEW_MOVIE], history))
    bundle = Recommender.from_files(world.files)
    place = int(np.searchsorted(bundle.user_id, user))
    assert live.score[1] == pytest.approx(bundle.stars.mean + bundle.stars.user_bias[place])


def test_new_ratings_are_a_window(world: World) -> None:
    """The newest rows, and as many before them; groups by user."""
    now = int(time.time() * 1000)
    sent = ((3.0, 400, now - 5_000, False), (5.0, 500, now - 4_000, False), (1.0, 100, now - 3_000, True))
    for nth, (stars, rows, at, simulated) in enumerate(sent, start=1):
        receive(world.warehouse, [(nth * 10**6 + row, 1 + row % 200, stars) for row in range(rows)], at, simulated)
    windows = world.windows()
    assert windows.current.rows == 600
    assert np.bincount(windows.current.columns["rating"].astype(int)).tolist() == [0, 100, 0, 0, 0, 500]
    assert windows.previous is not None
    assert windows.previous.rows == 460  # and those that were there before
    assert windows.current.since is not None
    assert len(np.unique(windows.current.groups)) == 600


def test_two_versions_are_compared_on_the_same_ratings(world: World) -> None:
    """Real ratings that neither was trained on, in the same order for both."""
    user = next(iter(world.known))
    first, second, third = world.unrated(user, 3)
    now = int(time.time() * 1000)
    receive(world.warehouse, [(user, first, 4.0), (user, second, 2.0)], now - 60_000)
    receive(world.warehouse, [(user, third, 3.0)], now - 1_000, simulated=True)
    received = queries.read_received_ratings(world.warehouse, now - 120_000, now, 100)

    def compare(read_until: int) -> list[Labelled]:
        later = replace(world.manifest, lineage={**world.manifest.lineage, "ratings_received_until": read_until})
        versions = [(world.manifest, world.files), (later, world.files)]
        return predict_same_ratings(open_store(world.settings.store), world.warehouse, versions, received)

    champion, challenger = compare(now - 90_000)
    assert champion.groups.tolist() == challenger.groups.tolist() == [user, user]
    assert sorted(champion.truth) == [2.0, 4.0]
    assert champion.truth.tolist() == challenger.truth.tolist()
    assert np.isfinite(champion.score).all()
    assert compare(now) == []
