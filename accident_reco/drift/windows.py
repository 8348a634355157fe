"""Windows of both models: the prediction log, new ratings, a materialized year. Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from accident_reco.drift.window import Labelled, Window, window_of_log
from accident_reco.lifecycle.bundle import Manifest
from accident_reco.lifecycle.reference import ReferenceProfile
from accident_reco.settings import Settings
from accident_reco.storage.loop import LOG_WINDOW
from accident_reco.storage.objects import ObjectStore
from accident_reco.storage.prediction_log import labelled_predictions, prediction_window
from accident_reco.storage.warehouse import Warehouse

GRAVE = (2, 3)
"""`grav` codes of the target: killed, hospitalised."""


@dataclass(frozen=True)
class Windows:
    """The window to judge and, where there are rows for it, the one before."""

    current: Window
    previous: Window | None


def log_windows(
    settings: Settings,
    warehouse: Warehouse,
    manifest: Manifest,
    reference: ReferenceProfile,
    files: Mapping[str, bytes],
) -> Windows:
    """What came in lately: the newest rows of the last hours, and as many before them."""
    since = datetime.now(UTC) - timedelta(hours=settings.drift_window_hours)
    if manifest.model == "movies":
        return _of_ratings(settings, warehouse, manifest, since, files)
    rows = prediction_window(warehouse, manifest.model, since=since, limit=2 * settings.drift_window_rows)
    labelled = labelled_predictions(warehouse, manifest.model, since=since, limit=10 * settings.drift_window_rows)
    of_champion = [row for row in labelled if row["version"] == manifest.version]
    rows, of_champion = [_canonical(row) for row in rows], [_canonical(row) for row in of_champion]
    current, before = rows[: settings.drift_window_rows], rows[settings.drift_window_rows :]
    return Windows(
        window_of_log([_scored_by(row, manifest.version) for row in current], reference, of_champion),
        window_of_log(before, reference) if before else None,
    )


def year_window(
    objects: ObjectStore, manifest: Manifest, reference: ReferenceProfile, files: Mapping[str, bytes], year: int
) -> Window:
    """A materialized year of accidents. Labels and performance are those of its holdout, which no version trained on.

    Raises ObjectNotFound when the year is not in the store.
    """
    from accident_reco.lifecycle.holdout import in_holdout
    from accident_reco.models.accidents.data.raw_store import load_frame
    from accident_reco.models.accidents.scoring.scorer import AccidentScorer

    frame = load_frame(objects, "victims", year)
    scorer = AccidentScorer.from_files(files, manifest)
    raw = {name: frame[name].to_numpy() for name in scorer.columns if name in frame}
    score = scorer.probability(raw)
    number = frame["Num_Acc"].to_numpy(dtype=np.int64)
    grave = np.isin(frame["grav"].to_numpy(), GRAVE)
    held_out = in_holdout(number)
    return Window(
        f"partition:{year}",
        {name: frame[name].to_numpy() for name in reference.columns if name in frame},
        number,
        score,
        grave.astype(np.int64),
        labelled=Labelled(score[held_out], grave[held_out].astype(np.float64), number[held_out]),
    )


def _canonical(row: dict[str, Any]) -> dict[str, Any]:
    """A logged row with numbers where the codebook has numbers: the log keeps what callers wrote, such as 17:45."""
    from accident_reco.models.accidents.codebook import FIELDS, canonical

    inputs = row["inputs"]
    if not isinstance(inputs, Mapping):
        return row
    spelt = {name for name, value in inputs.items() if isinstance(value, str) and name in FIELDS}
    numbers = {name: canonical(name, inputs[name]) for name in spelt if FIELDS[name].kind != "text"}
    return row | {"inputs": {**inputs, **numbers}} if numbers else row


def _scored_by(row: dict[str, Any], version: str) -> dict[str, Any]:
    """Scores of other versions are no scores of this one."""
    return row if row["version"] == version else row | {"score": None}


def _of_ratings(
    settings: Settings, warehouse: Warehouse, manifest: Manifest, since: datetime, files: Mapping[str, bytes]
) -> Windows:
    from accident_reco.models.movies.data.queries import received_ratings

    start, end = int(since.timestamp() * 1000), int(datetime.now(UTC).timestamp() * 1000) + 1
    received = received_ratings(warehouse, start, end, 2 * settings.drift_window_rows)
    rows = len(received["rating"])
    cut = max(rows - settings.drift_window_rows, 0)
    current = {name: values[cut:] for name, values in received.items()}
    previous = {name: values[:cut] for name, values in received.items()}
    return Windows(
        _ratings_window(current, _live_ratings(warehouse, manifest, files, current)),
        _ratings_window(previous, None) if cut else None,
    )


def _ratings_window(received: Mapping[str, np.ndarray], labelled: Labelled | None) -> Window:
    from accident_reco.models.movies.training.drift_columns import rating_columns

    rows = len(received["rating"])
    if rows == 0:
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


def _live_ratings(
    warehouse: Warehouse, manifest: Manifest, files: Mapping[str, bytes], received: Mapping[str, np.ndarray]
) -> Labelled | None:
    """What the champion expects of ratings that came after its training, by people whom it knows from what it learnt.

    Simulated ratings are no truth, what it learnt is no test, and whoever came after the training has no place in a
    comparison with the holdout. What these people have rated since is not known to it either, least of all the window.
    """
    from accident_reco.models.movies.data.queries import known_ratings
    from accident_reco.models.movies.data.ratings import Ratings
    from accident_reco.models.movies.scoring.recommender import Recommender
    from accident_reco.models.movies.training.metrics import predicted_ratings

    if not len(received["rating"]):
        return None
    until = int(manifest.lineage.get("ratings_received_until", 0))
    recommender = Recommender.from_files(files, manifest)
    judged = ~received["simulated"].astype(bool) & (received["received_at"] > until)
    judged &= np.isin(received["user_id"], recommender.user_id)
    if not judged.any():
        return None
    names = ("user_id", "movie_id", "rating", "rated_at")
    new = Ratings.of(*(received[name][judged] for name in names)).ordered()
    known = known_ratings(warehouse, new.user_id, until)
    expected = predicted_ratings(recommender, Ratings(*(known[name] for name in names)), new)
    return Labelled(expected, new.rating.astype(np.float64), new.user_id)
