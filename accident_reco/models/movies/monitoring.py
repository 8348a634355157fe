"""Monitoring of the movie model: windows of received ratings, live performance, new data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np

from accident_reco.contract import NewData, Platform
from accident_reco.drift.log_window import window_start
from accident_reco.drift.window import Labelled, Window, Windows
from accident_reco.lifecycle.bundle import Manifest
from accident_reco.models.movies.settings import MovieSettings
from accident_reco.storage.drift_reports import LOG_WINDOW
from accident_reco.storage.objects import ObjectStore
from accident_reco.storage.warehouse import Warehouse

MAX_PAIRED = 500_000
"""Most ratings on which two versions are compared."""


def build_windows(platform: Platform, manifest: Manifest, files: Mapping[str, bytes]) -> Windows:
    """The newest ratings of the drift window, and as many before them."""
    from accident_reco.models.movies.data.queries import read_received_ratings

    size = platform.settings.drift_window_rows
    start, end = int(window_start(platform).timestamp() * 1000), int(datetime.now(UTC).timestamp() * 1000) + 1
    received = read_received_ratings(platform.warehouse, start, end, 2 * size)
    cut = max(len(received["rating"]) - size, 0)
    current = {name: values[cut:] for name, values in received.items()}
    previous = {name: values[:cut] for name, values in received.items()}
    return Windows(
        _build_window(current, predict_live_ratings(platform.objects, platform.warehouse, manifest, files, current)),
        _build_window(previous, None) if cut else None,
    )


def find_new_ratings(platform: Platform, manifest: Manifest) -> NewData | str:
    """Ratings that were received after the champion's training data was read; one sentence when they are too few."""
    from accident_reco.models.movies.data.queries import count_received

    needed = platform.settings.of(MovieSettings).retrain_new_rows
    fresh = count_received(platform.warehouse, int(manifest.lineage.get("ratings_received_until", 0)))
    evidence = f"{fresh} ratings that the champion was not trained on"
    if fresh < needed:
        return f"{evidence}, {needed} are needed"
    return NewData(f"{manifest.created_at}:{fresh // needed}", evidence)


def predict_live_ratings(
    store: ObjectStore,
    warehouse: Warehouse,
    manifest: Manifest,
    files: Mapping[str, bytes],
    received: Mapping[str, np.ndarray],
) -> Labelled | None:
    """Predictions of the champion for real ratings that were received after its training, by users of its training.

    Excluded are simulated ratings, training ratings, and users who came after the training (the holdout has none).
    Predictions use the ratings known at training time only, never those of the window. None where no rating is left.
    """
    found = predict_same_ratings(store, warehouse, [(manifest, files)], received)
    return found[0] if found else None


def predict_same_ratings(
    store: ObjectStore,
    warehouse: Warehouse,
    versions: Sequence[tuple[Manifest, Mapping[str, bytes]]],
    received: Mapping[str, np.ndarray],
) -> list[Labelled]:
    """Predictions of each version, as `predict_live_ratings`, for the ratings that qualify for all; empty for none."""
    from accident_reco.models.movies.data.rating_columns import read_ratings_until
    from accident_reco.models.movies.data.ratings import Ratings
    from accident_reco.models.movies.scoring.bulk import predict_ratings
    from accident_reco.models.movies.scoring.recommender import Recommender

    if not len(received["rating"]):
        return []
    evaluated = ~received["simulated"].astype(bool)
    loaded = []
    for manifest, files in versions:
        until = int(manifest.lineage.get("ratings_received_until", 0))
        recommender = Recommender.from_files(files)
        evaluated &= (received["received_at"] > until) & np.isin(received["user_id"], recommender.user_id)
        loaded.append((recommender, until))
    if not evaluated.any():
        return []
    names = ("user_id", "movie_id", "rating", "rated_at")
    new = Ratings.from_columns(*(received[name][evaluated] for name in names)).sort_by_user()
    answers = []
    for recommender, until in loaded:
        known = read_ratings_until(store, warehouse, new.user_id, until)
        expected = predict_ratings(recommender, known, new)
        answers.append(Labelled(expected, new.rating.astype(np.float64), new.user_id))
    return answers


def pair_predictions(platform: Platform, manifests: Sequence[Manifest], since: datetime) -> tuple[Labelled, Labelled]:
    """Predictions of two versions for the real ratings received since a time (UTC)."""
    from accident_reco.models.movies.data.queries import read_received_ratings

    start, end = int(since.timestamp() * 1000), int(datetime.now(UTC).timestamp() * 1000) + 1
    received = read_received_ratings(platform.warehouse, start, end, MAX_PAIRED)
    versions = [(manifest, platform.models.files(manifest)) for manifest in manifests]
    found = predict_same_ratings(platform.objects, platform.warehouse, versions, received)
    if not found:
        nothing = np.empty(0)
        return Labelled(nothing, nothing, nothing), Labelled(nothing, nothing, nothing)
    champion, challenger = found
    return champion, challenger


def _build_window(received: Mapping[str, np.ndarray], labelled: Labelled | None) -> Window:
    from accident_reco.models.movies.data.drift_columns import build_drift_columns

    if not len(received["rating"]):
        return Window(LOG_WINDOW, {})
    at = received["received_at"]
    return Window(
        LOG_WINDOW,
        build_drift_columns(received["movie_id"], received["rating"]),
        received["user_id"],
        None,
        received["rating"].astype(np.float64),
        datetime.fromtimestamp(int(at.min()) / 1000, UTC),
        datetime.fromtimestamp(int(at.max()) / 1000, UTC),
        labelled,
    )
