"""What is monitored of the movie model: the ratings that come in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np

from accident_reco.contract import NewData, Platform
from accident_reco.drift.log_window import window_start
from accident_reco.drift.window import Labelled, Window, Windows
from accident_reco.lifecycle.bundle import Manifest
from accident_reco.models.movies.settings import MovieSettings
from accident_reco.storage.drift_reports import LOG_WINDOW
from accident_reco.storage.warehouse import Warehouse


def rating_windows(platform: Platform, manifest: Manifest, files: Mapping[str, bytes]) -> Windows:
    """The newest ratings of the last hours, and as many before them."""
    from accident_reco.models.movies.data.queries import received_ratings

    size = platform.settings.drift_window_rows
    start, end = int(window_start(platform).timestamp() * 1000), int(datetime.now(UTC).timestamp() * 1000) + 1
    received = received_ratings(platform.warehouse, start, end, 2 * size)
    cut = max(len(received["rating"]) - size, 0)
    current = {name: values[cut:] for name, values in received.items()}
    previous = {name: values[:cut] for name, values in received.items()}
    return Windows(
        _window(current, live_ratings(platform.warehouse, manifest, files, current)),
        _window(previous, None) if cut else None,
    )


def new_ratings(platform: Platform, manifest: Manifest) -> NewData | str:
    """Ratings that came after the champion's training data was read."""
    from accident_reco.models.movies.data.queries import count_received

    needed = platform.settings.of(MovieSettings).retrain_new_rows
    fresh = count_received(platform.warehouse, int(manifest.lineage.get("ratings_received_until", 0)))
    evidence = f"{fresh} ratings that the champion was not trained on"
    if fresh < needed:
        return f"{evidence}, {needed} are needed"
    return NewData(f"{manifest.created_at}:{fresh // needed}", evidence)


def live_ratings(
    warehouse: Warehouse, manifest: Manifest, files: Mapping[str, bytes], received: Mapping[str, np.ndarray]
) -> Labelled | None:
    """What the champion predicts of real ratings that came after its training, by users whom it was trained on.

    Simulated ratings are no truth, training ratings are no test, and users who came after the training have no place in
    a comparison with the holdout. What these users have rated since is not known to the champion either, least of all
    the window.
    """
    from accident_reco.models.movies.data.queries import known_ratings
    from accident_reco.models.movies.data.ratings import Ratings
    from accident_reco.models.movies.scoring.recommender import Recommender
    from accident_reco.models.movies.training.metrics import predicted_ratings

    if not len(received["rating"]):
        return None
    until = int(manifest.lineage.get("ratings_received_until", 0))
    recommender = Recommender.from_files(files, manifest)
    evaluated = ~received["simulated"].astype(bool) & (received["received_at"] > until)
    evaluated &= np.isin(received["user_id"], recommender.user_id)
    if not evaluated.any():
        return None
    names = ("user_id", "movie_id", "rating", "rated_at")
    new = Ratings.of(*(received[name][evaluated] for name in names)).ordered()
    known = known_ratings(warehouse, new.user_id, until)
    expected = predicted_ratings(recommender, Ratings(*(known[name] for name in names)), new)
    return Labelled(expected, new.rating.astype(np.float64), new.user_id)


def _window(received: Mapping[str, np.ndarray], labelled: Labelled | None) -> Window:
    from accident_reco.models.movies.training.drift_columns import rating_columns

    if not len(received["rating"]):
        return Window(LOG_WINDOW, {})
    at = received["received_at"]
    return Window(
        LOG_WINDOW,
        rating_columns(received["movie_id"], received["rating"]),
        received["user_id"],
        None,
        received["rating"].astype(np.float64),
        datetime.fromtimestamp(int(at.min()) / 1000, UTC),
        datetime.fromtimestamp(int(at.max()) / 1000, UTC),
        labelled,
    )
