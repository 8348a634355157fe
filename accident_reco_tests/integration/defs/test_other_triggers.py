"""Triggers of trainings besides drift: dropped performance on live labels, new years, new ratings."""

import time
from datetime import UTC, datetime

import dagster as dg
import numpy as np
from sqlalchemy import select

from accident_reco.defs.resources import Platform
from accident_reco.lifecycle.bundle import Bundle
from accident_reco.models.movies.data.queries import add_ratings
from accident_reco.storage import drift_reports
from accident_reco.storage.prediction_log import add_feedback
from accident_reco.storage.tables.prediction_log import predictions
from accident_reco.storage.work_requests import open_requests
from accident_reco_tests.support.small_loop import build_loop_definitions, report, tick, traffic


def add_labels(platform: Platform, seed: int, calibrated: bool) -> None:
    """Labels of the predictions of one `traffic`: drawn by their scores, or independently of them."""
    rng = np.random.default_rng(seed)
    with platform.warehouse.connect() as connection:
        columns = (predictions.c.id, predictions.c.score, predictions.c.at)
        scored = connection.execute(select(*columns).where(predictions.c.id.startswith(f"{seed}-"))).all()
    for prediction_id, score, predicted_at in scored[:300]:
        grave = bool(rng.random() < (score if calibrated else 0.3))
        add_feedback(
            platform.warehouse,
            {
                "prediction_id": prediction_id,
                "model": "accidents",
                "grave": grave,
                "severity": 2 if grave else 1,
                "predicted_at": predicted_at.replace(tzinfo=UTC),
                "at": datetime.now(UTC),
            },
        )


def test_dropped_performance_triggers_a_training(definitions, instance, platform) -> None:
    """Unchanged inputs and labels independent of the scores: no drift, but a training."""
    champion = platform.models.pointer("accidents").version
    traffic(platform, shift=0, seed=2, version=champion)
    add_labels(platform, 2, calibrated=True)
    report(definitions, instance)
    result = tick(definitions, instance, "performance_reports")
    assert "no performance trigger" in result.skip_message
    with platform.warehouse.begin() as connection:
        connection.exec_driver_sql("DELETE FROM feedback")
    traffic(platform, shift=0, seed=3, version=champion)
    add_labels(platform, 3, calibrated=False)
    report(definitions, instance)
    row = drift_reports.latest_report(platform.warehouse, "accidents")
    assert row is not None
    assert row["status"] in ("stable", "warning")
    assert row["document"]["performance"]["dropped"]
    result = tick(definitions, instance, "performance_reports", result.cursor)
    assert result.skip_message.count("report") == 1
    assert "train, " in result.skip_message
    assert "roc_auc" in result.skip_message
    (request,) = open_requests(platform.warehouse, "training")
    assert request["source"] == "performance"
    assert "no drift trigger" in tick(definitions, instance, "drift_reports").skip_message


def test_new_years_trigger_once(definitions, instance, platform) -> None:
    """An ingested year that is not among the champion's sources triggers one training."""
    result = tick(definitions, instance, "new_data")
    assert "every ingested year is among the champion's sources" in result.skip_message
    summary = b'{"data_source": "sample", "victims_sha256": "def", "files": {"usagers": {"sha256": "abc"}}}'
    platform.objects.write("assets/accidents/victims/2024.json", summary)
    result = tick(definitions, instance, "new_data")
    assert "files that the champion has not seen: 2024: train" in result.skip_message
    (request,) = open_requests(platform.warehouse, "training")
    assert request["source"] == "data"
    assert "2024: handled" in tick(definitions, instance, "new_data").skip_message
    assert len(open_requests(platform.warehouse, "training")) == 1


def insert_ratings(platform: Platform, first: int, count: int, received_at: int, simulated: bool = False) -> None:
    """Insert ratings received at a time (ms)."""
    columns = {
        "user_id": np.arange(first, first + count),
        "movie_id": np.ones(count, dtype=np.int64),
        "rating": np.full(count, 4.0),
        "rated_at": np.full(count, 1_700_000_000),
    }
    add_ratings(platform.warehouse, columns, simulated=simulated, received_at=received_at)


def test_new_ratings_trigger_once(instance, platform, monkeypatch) -> None:
    """Enough real ratings that the champion was not trained on trigger one training; simulated ones do not count.

    Ratings received during its training are among them, those that it read are not.
    """
    monkeypatch.setenv("ACCIDENT_RECO_RETRAIN_NEW_ROWS", "50")
    few = Platform(home=platform.home)
    definitions = build_loop_definitions(few)
    models = few.models
    read_until = int(time.time() * 1000) - 60_000
    champion = Bundle("movies", {}, {}, {}, {"ratings_received_until": read_until})
    models.point(models.write(champion), expected=None, run_id="r", reason="first")
    insert_ratings(few, 5_000, 40, read_until)
    insert_ratings(few, 1, 30, read_until + 1)
    insert_ratings(few, 1_000, 500, read_until + 2, simulated=True)
    result = tick(definitions, instance, "new_data")
    assert "movies: 30 ratings that the champion was not trained on, 50 are needed" in result.skip_message
    insert_ratings(few, 100, 30, read_until + 90_000)
    assert (
        "60 ratings that the champion was not trained on: train" in tick(definitions, instance, "new_data").skip_message
    )
    (request,) = open_requests(platform.warehouse, "training")
    assert (request["model"], request["source"]) == ("movies", "data")
    result = tick(definitions, instance, "new_data")
    assert "60 ratings that the champion was not trained on: handled" in result.skip_message
    (run,) = tick(definitions, instance, "movies_training_requests").run_requests
    assert isinstance(run, dg.RunRequest)
    assert run.run_key == f"training:{request['id']}"
