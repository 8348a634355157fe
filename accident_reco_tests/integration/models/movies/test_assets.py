"""The movie model through Dagster: files to champion, trainings that change nothing, data that is rejected."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from accident_reco.defs.training_loop import candidate_complete
from accident_reco.lifecycle.reference import read_reference
from accident_reco.models.movies.candidates import CANDIDATES
from accident_reco.models.movies.data import queries
from accident_reco.models.movies.model import MODEL
from accident_reco.models.movies.scoring.recommender import Recommender
from accident_reco.models.movies.training import loading
from accident_reco.models.movies.training.candidate_training import split_by_time
from accident_reco.storage.lifecycle import decision_of_run
from accident_reco_tests.support.movie_world import World


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("ACCIDENT_RECO_MOVIES_SAMPLE_RATINGS", "6000")
    # MLflow is tested elsewhere; here the tracker is unavailable, which must not fail a training.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    world = World(tmp_path / "home")
    yield world
    world.close()


def test_from_files_to_the_champion_and_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every asset and check in turn; the pointer names a bundle that serves; an equal candidate is not promoted."""
    early = world.run("train_movies")
    assert not early.success
    spool = Path(world.platform.home) / "spool" / "mlflow"
    failed = json.loads((spool / f"movies-train_movies-failed-{early.run_id[:8]}" / "run.json").read_text())
    assert (failed["status"], failed["tags"]["failure.step"]) == ("FAILED", "movies__ratings_split")
    ingested = world.run("ingest_movies")
    assert ingested.success
    assert world.metadata(ingested, "raw_ratings")["data_source"] == "sample"
    assert world.metadata(ingested, "warehouse_tables")["quarantined"] == count_quarantine(world)
    assert loading.is_imported(world.platform.objects, world.platform.warehouse)
    trained = world.run("train_movies")
    assert trained.success
    checks = {evaluation.check_name: evaluation.passed for evaluation in trained.get_asset_check_evaluations()}
    assert all(checks.values()), checks
    promoted = world.metadata(trained, "production_model")
    assert promoted["promoted"] is True
    candidate = world.metadata(trained, "candidate_model")
    assert candidate["ranking_head"] in {"als", "ease", "slim", "hybrid"}
    assert candidate["stars_head"] in {"svd", "knn", "baseline", "stack"}
    assert "rmse" in str(candidate["headline"])
    for asset in (
        "svd_model",
        "knn_model",
        "baseline_model",
        "ranking_model",
        "ease_model",
        "hybrid_model",
        "stacked_stars_model",
    ):
        assert "| 3 |" in str(world.metadata(trained, asset)["folds"])
        assert world.metadata(trained, asset)["sample"] == {}

    # MLflow gets every fold of every candidate, and the ranking metrics of each.
    spooled = spool / f"movies-{candidate['version']}" / "run.json"
    document = json.loads(spooled.read_text())
    metrics = document["metrics"]
    folds = {f"{kind}_fold_{n}_{error}" for kind in CANDIDATES for n in (1, 2, 3) for error in ("rmse", "mae")}
    ranking = {
        f"{kind}_{name}" for kind in CANDIDATES for name in ("ndcg_at_10", "recall_at_10", "coverage", "novelty")
    }
    assert folds | ranking <= set(metrics)
    by_step = {name: [value for _, value, _ in points] for name, points in document["history"].items()}
    for kind in CANDIDATES:
        assert by_step[f"{kind}/fold_mae"] == [metrics[f"{kind}_fold_{n}_mae"] for n in (1, 2, 3)]
        assert min(by_step[f"system/{kind}/process_memory_megabytes"]) > 0
    assert document["tables"]["candidates"]["candidate"] == list(CANDIDATES)
    assert document["tables"]["audience"]["ndcg_at_10"][0] == metrics["ndcg_at_10"]

    champion = world.platform.models.champion("movies")
    assert champion is not None
    pointer, manifest = champion
    assert set(manifest.metrics) >= {"rmse", "mae", "ndcg_at_10", "recall_at_10", "coverage", "temporal_rmse"}
    assert set(manifest.lineage) >= {"sources", "data_source", "dagster_run_id", "mlflow_run_id", "git_commit"}
    assert [source["name"] for source in manifest.lineage["sources"]] == ["ratings.csv", "movies.csv"]
    assert manifest.lineage["sample"] is None
    files = world.platform.models.files(manifest)
    assert Recommender.from_files(files).user_id[0] == 1
    assert read_reference(files["reference.json"]).model == "movies"

    again = world.metadata(world.run("train_movies"), "production_model")
    assert again["promoted"] is False
    assert f"{pointer.version} serves already" in str(again["reason"])

    # Without an earlier version a rollback is an error, not a promotion.
    config: dict[str, object] = {"ops": {"movies__production_model": {"config": {"rollback": True}}}}
    rolled = world.run("train_movies", only="production_model", config=config)
    assert not rolled.success
    failure = next(event for event in rolled.all_events if event.is_step_failure)
    assert "no earlier version to roll back to" in str(failure.step_failure_data.error)

    # Below the floor: the check warns, and the gate rejects on record.
    monkeypatch.setenv("ACCIDENT_RECO_MOVIES_FLOOR", "0.99")
    strict = World(Path(world.platform.home))
    warned = candidate_complete(MODEL, trained.output_for_node("movies__candidate_model"), strict.platform)
    assert (warned.passed, warned.warn) == (False, True)
    strict.platform.objects.delete("models/movies/production.json")
    rejected = strict.run("train_movies", only="production_model")
    assert strict.metadata(rejected, "production_model")["reason"] == warned.reason
    assert decision_of_run(strict.platform.warehouse, rejected.run_id) == (False, warned.reason)
    strict.close()


def test_new_ratings_reach_the_next_version_but_simulated_ones_are_never_in_the_holdout(world: World) -> None:
    """Feedback and simulated ratings train; the holdout has real ones only; both models are compared on it."""
    assert world.run("ingest_movies").success
    assert world.run("train_movies").success
    before = world.platform.models.pointer("movies")
    known = [row[0] for row in queries.read_movies(world.platform.warehouse)][:60]
    columns = {
        "user_id": np.full(60, 1_000_000_000),
        "movie_id": np.array(known),
        "rating": np.full(60, 1.0),
        "rated_at": np.full(60, 1_700_000_000),
    }
    queries.add_ratings(world.platform.warehouse, columns, simulated=True, received_at=77)
    result = world.run("train_movies")
    assert result.success
    split = world.metadata(result, "ratings_split")
    assert split["simulated"] == 60
    rows = loading.load_rows(
        result.output_for_node("movies__ratings_split"), world.platform.warehouse, world.platform.objects
    )
    assert set(rows.train.user_id[rows.simulated]) == {1_000_000_000}
    older, newest = split_by_time(rows)  # type: ignore[misc]
    assert 1_000_000_000 not in older.user_id
    assert 1_000_000_000 not in newest.user_id
    assert 0 < split["left_out"]["simulated in the holdout"] < 60  # type: ignore[index]
    outcome = world.metadata(result, "production_model")
    assert outcome["candidate"] != before.version  # type: ignore[union-attr]
    assert outcome["promoted"] is False
    assert "ndcg_at_10" in str(outcome["reason"])
    assert world.platform.models.pointer("movies") == before


def test_quarantined_rows_above_the_limit_block_the_training(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file with a tenth of its rows broken is imported and reported; a training on it is rejected."""
    folder = tmp_path / "bad"
    folder.mkdir()
    good = [f"{user},{movie},4.0,1300000000" for user in range(1, 31) for movie in range(1, 31)]
    bad = [f"{user},{movie},9.0,1300000000" for user in range(31, 35) for movie in range(1, 31)]
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + "\n".join(good + bad) + "\n")
    (folder / "movies.csv").write_text("movieId,title,genres\n" + "".join(f"{m},T{m},Drama\n" for m in range(1, 31)))
    monkeypatch.setenv("ACCIDENT_RECO_MOVIES_SOURCE", str(folder))
    broken = World(Path(world.platform.home))
    result = broken.run("ingest_movies")
    (failed,) = [check for check in result.get_asset_check_evaluations() if not check.passed]
    assert failed.check_name == "few_rows_quarantined"
    assert not loading.is_imported(broken.platform.objects, broken.platform.warehouse)
    assert "120 of 1,020 rating rows quarantined (11.76%)" in (failed.description or "")
    rejected = broken.metadata(broken.run("train_movies"), "production_model")
    assert rejected["promoted"] is False
    assert "the data fails its checks: 120 of 1,020 rating rows quarantined" in str(rejected["reason"])
    broken.close()


def count_quarantine(world: World) -> int:
    from sqlalchemy import func, select

    from accident_reco.models.movies.data.tables import rating_quarantine

    with world.platform.warehouse.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(rating_quarantine)).scalar_one())
