"""What else than drift asks for a training: lost performance on live labels, years and ratings that nobody learnt."""

import time
from datetime import UTC, datetime

import dagster as dg
import numpy as np

from accident_reco.defs.resources import Platform
from accident_reco.lifecycle.bundle import Bundle
from accident_reco.models.movies.data.queries import add_ratings
from accident_reco.storage import loop as loop
from accident_reco.storage.lifecycle import open_requests
from accident_reco.storage.prediction_log import add_feedback
from accident_reco_tests.defs.small_loop import definitions_of, report, tick, traffic


def label(platform: Platform, seed: int, right: bool) -> None:
    """Labels of the predictions of one `traffic`: as their scores say, or drawn without looking at them."""
    rng = np.random.default_rng(seed)
    with platform.warehouse.connect() as connection:
        scored = connection.exec_driver_sql(f"SELECT id, score FROM predictions WHERE id LIKE '{seed}-%'").all()
    for prediction_id, score in scored[:300]:
        grave = bool(rng.random() < (score if right else 0.3))
        add_feedback(
            platform.warehouse,
            {
                "prediction_id": prediction_id,
                "model": "accidents",
                "grave": grave,
                "severity": 2 if grave else 1,
                "predicted_at": datetime.now(UTC),
                "at": datetime.now(UTC),
            },
        )


def test_lost_performance_asks_for_a_training(definitions, instance, platform) -> None:
    """Inputs as before, and labels that say the scores have become worthless: no drift, and yet a training."""
    champion = platform.models.pointer("accidents").version
    traffic(platform, shift=0, seed=2, version=champion)
    label(platform, 2, right=True)
    report(definitions, instance)
    looked = tick(definitions, instance, "performance_reports")
    assert "no performance trigger" in looked.skip_message
    with platform.warehouse.begin() as connection:
        connection.exec_driver_sql("DELETE FROM feedback")
    traffic(platform, shift=0, seed=3, version=champion)
    label(platform, 3, right=False)
    report(definitions, instance)
    row = loop.latest_report(platform.warehouse, "accidents")
    assert row is not None
    assert row["status"] in ("stable", "warning")
    assert row["document"]["performance"]["dropped"]
    looked = tick(definitions, instance, "performance_reports", looked.cursor)
    assert looked.skip_message.count("report") == 1
    assert "train, " in looked.skip_message
    assert "roc_auc" in looked.skip_message
    (request,) = open_requests(platform.warehouse, "training")
    assert request["source"] == "performance"
    assert "no drift trigger" in tick(definitions, instance, "drift_reports").skip_message


def test_new_years_are_noticed_once(definitions, instance, platform) -> None:
    """An ingested year that the champion does not name among its sources asks for training, once."""
    looked = tick(definitions, instance, "new_data")
    assert "every ingested year is among the champion's sources" in looked.skip_message
    summary = b'{"data_source": "sample", "files": {"usagers": {"sha256": "abc"}}}'
    platform.objects.write("assets/accidents/victims/2024.json", summary)
    looked = tick(definitions, instance, "new_data")
    assert "files that the champion has not seen: 2024: train" in looked.skip_message
    (request,) = open_requests(platform.warehouse, "training")
    assert request["source"] == "data"
    assert "2024: handled" in tick(definitions, instance, "new_data").skip_message
    assert len(open_requests(platform.warehouse, "training")) == 1


def rate(platform: Platform, first: int, count: int, received_at: int, simulated: bool = False) -> None:
    """Ratings that come in at a time (ms)."""
    columns = {
        "user_id": np.arange(first, first + count),
        "movie_id": np.ones(count, dtype=np.int64),
        "rating": np.full(count, 4.0),
        "rated_at": np.full(count, 1_700_000_000),
    }
    add_ratings(platform.warehouse, columns, simulated=simulated, received_at=received_at)


def test_new_ratings_are_noticed_once(instance, platform, monkeypatch) -> None:
    """Enough real ratings that the champion did not learn ask for a training, once; made-up ones do not count.

    What came in while the champion was being made is among them, what it has read is not.
    """
    monkeypatch.setenv("ACCIDENT_RECO_RETRAIN_NEW_ROWS", "50")
    few = Platform(home=platform.home)
    definitions = definitions_of(few)
    models = few.models
    read_until = int(time.time() * 1000) - 60_000
    champion = Bundle("movies", {}, {}, {}, {"ratings_received_until": read_until})
    models.point(models.write(champion), seen=None, run_id="r", reason="first")
    rate(few, 5_000, 40, read_until)
    rate(few, 1, 30, read_until + 1)
    rate(few, 1_000, 500, read_until + 2, simulated=True)
    looked = tick(definitions, instance, "new_data")
    assert "movies: 30 ratings that the champion was not trained on, 50 are needed" in looked.skip_message
    rate(few, 100, 30, read_until + 90_000)
    assert (
        "60 ratings that the champion was not trained on: train" in tick(definitions, instance, "new_data").skip_message
    )
    (request,) = open_requests(platform.warehouse, "training")
    assert (request["model"], request["source"]) == ("movies", "data")
    looked = tick(definitions, instance, "new_data")
    assert "60 ratings that the champion was not trained on: handled" in looked.skip_message
    (run,) = tick(definitions, instance, "movies_training_requests").run_requests
    assert isinstance(run, dg.RunRequest)
    assert run.run_key == f"training:{request['id']}"
