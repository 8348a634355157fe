"""The ranking candidate fitted by MLlib on real executor processes, one of which is killed in the middle of the fit."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import psutil
import pytest

from accident_reco.defs.io import BundleIOManager, read_frame
from accident_reco.lifecycle.promotion import promote
from accident_reco.lifecycle.store import ModelStore
from accident_reco.models.movies.assets.plugin import MovieTraining
from accident_reco.models.movies.candidates import als, spark_fit, spark_job
from accident_reco.models.movies.candidates.biases import fit_biases
from accident_reco.models.movies.candidates.trainset import IndexedRatings
from accident_reco.models.movies.data import queries
from accident_reco.models.movies.data.rating_columns import read_ratings
from accident_reco.models.movies.data.split import SplitOptions
from accident_reco.models.movies.data.staged_ratings import StagedRatings, stage_ratings
from accident_reco.models.movies.scoring.packing import FILE, read_arrays
from accident_reco.models.movies.scoring.recommender import Recommender
from accident_reco.models.movies.settings import MovieSettings
from accident_reco.models.movies.training import loading, metrics
from accident_reco.settings import SettingsError
from accident_reco_tests.support import spark_split
from accident_reco_tests.support.live import wait_for
from accident_reco_tests.support.movie_world import World
from accident_reco_tests.support.weighted_als import fit_weighted_als

NEEDED = {"Java": shutil.which("java"), "pyspark": find_spec("pyspark")}
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not all(NEEDED.values()), reason=f"needs {', '.join(k for k, v in NEEDED.items() if not v)}"),
]
# The memory of an executor for data is (512 - 300) MiB times the fraction: less than the blocks of the ratings. Pages
# are as much smaller than Spark's, one of which would be half of it.
DEFAULTS = """
spark.driver.host 127.0.0.1
spark.driver.bindAddress 127.0.0.1
spark.driver.extraJavaOptions -XX:TieredStopAtLevel=1
spark.executor.extraJavaOptions -XX:TieredStopAtLevel=1
spark.executor.memory 512m
spark.memory.fraction 0.01
spark.buffer.pageSize 64k
spark.default.parallelism 2
spark.sql.shuffle.partitions 2
spark.ui.enabled false
spark.eventLog.enabled true
spark.eventLog.compress false
spark.eventLog.rolling.enabled false
spark.eventLog.dir {folder}
"""


@pytest.fixture
def events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of Spark's event log, with a configuration as a cluster's administrator writes it."""
    folder, configuration = tmp_path / "events", tmp_path / "conf"
    folder.mkdir()
    configuration.mkdir()
    (configuration / "spark-defaults.conf").write_text(DEFAULTS.format(folder=folder.as_uri()))
    monkeypatch.setenv("SPARK_CONF_DIR", str(configuration))
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    monkeypatch.setenv("ACCIDENT_RECO_SPARK_MASTER", "local-cluster[2,1,1024]")
    return folder


@pytest.fixture
def world(tmp_path: Path, events: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("ACCIDENT_RECO_MOVIES_SAMPLE_RATINGS", "60000")
    monkeypatch.setenv("ACCIDENT_RECO_MOVIES_MAX_RATINGS", "30000")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    world = World(tmp_path / "home")
    yield world
    world.close()


def read_events(folder: Path, kind: str = "") -> list[dict[str, Any]]:
    """What Spark has logged so far, or its events of one kind; its last line may not be complete."""
    lines = [line for path in folder.iterdir() for line in path.read_text().split("\n")[:-1]]
    return [json.loads(line) for line in lines if line.startswith(f'{{"Event":"{kind}')]


def is_of_fit(event: dict[str, Any]) -> bool:
    """Whether a stage of the fit has ended."""
    return event["Event"] == "SparkListenerStageCompleted" and "ALS.scala" in event["Stage Info"]["Stage Name"]


class Killer(threading.Thread):
    """Kills an executor when some stages of the fit have ended."""

    def __init__(self, folder: Path, stages: int) -> None:
        super().__init__(daemon=True)
        self.folder, self.stages = folder, stages
        self.killed: list[int] = []
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.3):
            # Few of many lines: parsing all of them, again and again, takes the cores that Spark needs.
            if sum(map(is_of_fit, read_events(self.folder, "SparkListenerStageCompleted"))) < self.stages:
                continue
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.NoSuchProcess):  # it has just ended, as Spark's start scripts do
                    if "CoarseGrainedExecutorBackend" in " ".join(process.cmdline()):
                        process.kill()
                        self.killed.append(process.pid)
                        return


def receive(world: World, rows: int, received_at: int, *, simulated: bool) -> None:
    """Ratings of known users and movies as the API receives them: some replace the file's, some are new."""
    random = np.random.default_rng(received_at)
    stored = read_ratings(world.platform.objects, world.platform.warehouse).ratings
    pairs = np.stack([random.choice(stored.user_id, rows), random.choice(stored.movie_id, rows)])
    pairs = np.unique(np.hstack([pairs, [stored.user_id[:20], stored.movie_id[:20]]]), axis=1)
    columns = {"user_id": pairs[0], "movie_id": pairs[1], "rating": random.integers(1, 11, pairs.shape[1]) / 2}
    columns["rated_at"] = np.full(pairs.shape[1], int(stored.rated_at.max()))
    queries.add_ratings(world.platform.warehouse, columns, simulated=simulated, received_at=received_at)


def test_the_split_of_spark_is_that_of_one_machine(world: World, tmp_path: Path) -> None:
    """Row for row: received ratings replace the file's, simulated ones only train, rare users and movies are left out
    in several rounds, and what was received after the training's moment does not count.
    """
    assert world.run("ingest_movies").success
    receive(world, 800, 1_000, simulated=False)
    receive(world, 1_500, 2_000, simulated=True)
    objects, warehouse = world.platform.objects, world.platform.warehouse
    options = SplitOptions(min_user_ratings=20, min_movie_ratings=40)
    expected = loading.load_split(objects, warehouse, options, 0).split
    queries.add_ratings(
        warehouse,
        {"user_id": np.array([10**6]), "movie_id": np.array([1]), "rating": np.array([5.0]), "rated_at": np.array([1])},
        simulated=False,
        received_at=3_000,
    )
    assert all(expected.excluded.values())
    assert expected.simulated.any()
    with stage_ratings(objects, warehouse, 2_000) as staged:
        cluster = spark_fit.SparkCluster("local[2]", lambda: nullcontext(staged), options, 1460.0, 4.0, 10)
        job = spark_fit.build_job(cluster, staged, als.AlsOptions(), seed=1)
        (tmp_path / spark_job.FILE).write_text(json.dumps(asdict(job)))
        environ = {**os.environ, "PYSPARK_PYTHON": sys.executable}
        subprocess.run([sys.executable, "-m", spark_split.__name__, str(tmp_path)], check=True, env=environ)
    found = np.load(tmp_path / spark_split.PARTS)
    for name, part in (("train", expected.train), ("holdout", expected.holdout)):
        for column, values in vars(part).items():
            assert np.array_equal(found[f"{name}_{column}"], values), (name, column)
    assert np.array_equal(found["train_simulated"], expected.simulated)
    assert not found["holdout_simulated"].any()
    assert np.array_equal(found["user_ids"], np.unique(expected.train.user_id))
    assert np.array_equal(found["movie_ids"], np.unique(expected.train.movie_id))


def test_a_fit_survives_a_killed_executor_and_becomes_champion(
    world: World, events: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle ranks as a fit of the same objective to all rows on one machine does, also where the run's process is
    bounded to half of them; the version is composed, and the gate promotes it.
    """
    # Fewer factors have one optimum, which both fits find: with 64, two fits of one program differ as much.
    own = als.AlsOptions(factors=16, iterations=12)
    built = loading.build_options

    def build_options(*arguments: Any) -> Any:
        options = built(*arguments)
        return replace(options, fit=replace(options.fit, hyperparameters=(own,)))

    monkeypatch.setattr(loading, "build_options", build_options)
    assert world.run("ingest_movies").success
    receive(world, 300, 1_000, simulated=False)
    assert world.run("train_movies", only="ratings_split").success
    killer = Killer(events, stages=30)
    killer.start()
    trained = world.run("train_movies", only="ranking_model")
    killer.over.set()
    killer.join()
    assert trained.success

    logged = read_events(events)
    removed = [n for n, event in enumerate(logged) if event["Event"] == "SparkListenerExecutorRemoved"]
    assert len(killer.killed) == 1
    assert removed
    assert any(is_of_fit(event) for event in logged[removed[0] :]), "the executor was killed after the fit"
    assert not list((Path(world.platform.home) / "store" / "assets" / "movies" / "spark").iterdir())
    tasks = [event.get("Task Metrics") or {} for event in logged if event["Event"] == "SparkListenerTaskEnd"]
    assert sum(task.get("Disk Bytes Spilled", 0) for task in tasks) > 0

    platform, training = world.platform, MovieTraining()
    bundle = BundleIOManager(platform=platform).load_input(
        dg.build_input_context(asset_key=dg.AssetKey(["movies", "ranking_model"]))
    )
    frame = read_frame(platform.objects, dg.AssetKey(["movies", "ratings_split"]), "all")
    everything = loading.load_split(platform.objects, platform.warehouse, SplitOptions(), 0).split
    assert (~frame["holdout"]).sum() < 0.7 * len(everything.train)
    data, arrays = IndexedRatings.from_ratings(everything.train), read_arrays(bundle.files[FILE])
    place = np.searchsorted(arrays["movie_id"], data.movie_ids)
    assert bundle.signature["trained_on"]["ratings"] == len(data)
    assert np.array_equal(arrays["user_id"], data.user_ids)
    assert np.array_equal(arrays["rating_count"][place], np.bincount(data.movie))
    expected_biases = fit_biases(data)
    assert arrays["user_bias"] == pytest.approx(expected_biases["user_bias"], abs=1e-9)
    assert arrays["movie_bias"][place] == pytest.approx(expected_biases["movie_bias"], abs=1e-9)

    version = Recommender(arrays)
    users = metrics.list_ranked_users(everything.train, everything.holdout, len(data.user_ids))
    ranked = [version.rank_unseen(one.user_id, one.history, metrics.TOP) for one in users]
    served, _ = metrics.measure_lists(version, users, ranked)
    assert bundle.history["spark_ndcg_at_10"][0][1] == pytest.approx(served["ndcg_at_10"], abs=1e-3)

    reference = fit_weighted_als(data, own.factors, own.iterations, spark_fit.REGULARIZATION, own.alpha, seed=1)
    movies = np.zeros_like(arrays["movie_factors"])
    movies[place] = reference[1]
    same = Recommender({**arrays, "user_factors": reference[0].astype(np.float32), "movie_factors": movies})
    expected, _ = metrics.measure_lists(
        same, users, [same.rank_unseen(one.user_id, one.history, metrics.TOP) for one in users]
    )
    assert served["ndcg_at_10"] == pytest.approx(expected["ndcg_at_10"], abs=0.005)

    # A known user is folded in as the fit solved for it: with the movies held still, that is the last half-step.
    state = als.AlsScorer(arrays).fold_in(*_history(arrays, data, 0))
    assert state.vector == pytest.approx(arrays["user_factors"][0], abs=5e-3)

    frames = {"ratings_split": frame}
    candidates = {"als": bundle, "baseline": training.fit("baseline", frames, platform).bundle}
    evaluated = training.evaluate(candidates, frames, platform)
    assert evaluated.metadata["ranking_head"] == "als"
    composed = read_arrays(evaluated.bundle.files[FILE])
    assert np.array_equal(composed["user_id"], np.unique(frame["user_id"][~frame["holdout"]]))
    assert evaluated.bundle.lineage["sample"] == {**frame.attrs["sample"], "heads": ["stars"]}
    card = evaluated.bundle.files["card.md"].decode()
    assert f"Trained on {len(data):,} ratings" in card
    assert f"Predicted stars: {(~frame['holdout']).sum():,} ratings" in card
    models = ModelStore(platform.objects)
    policy = training.gate_policy(platform.settings)
    outcome = promote(models, platform.warehouse, evaluated.bundle, lambda *_: pytest.fail("no champion"), policy, "r")
    assert outcome.decision.promote, outcome.decision.reason
    pointer = models.pointer("movies")
    assert pointer is not None
    assert pointer.version == evaluated.bundle.version


def _history(arrays: dict[str, np.ndarray], data: IndexedRatings, user: int) -> tuple[np.ndarray, np.ndarray]:
    rows = data.user == user
    return np.searchsorted(arrays["movie_id"], data.movie_ids[data.movie[rows]]), data.rating[rows]


def test_a_job_that_fails_is_an_error_of_the_step(tmp_path: Path, events: Path) -> None:
    """A part that an import has deleted meanwhile: the exit code is reported, not a half-written result."""
    staged = StagedRatings(((tmp_path / "none.parquet").as_uri(),), (), 0, (tmp_path / "work").as_uri())
    cluster = spark_fit.SparkCluster("local[1]", lambda: nullcontext(staged), SplitOptions(), 1460.0, 4.0, 10)
    with pytest.raises(spark_fit.SparkError, match="exit code 1"):
        spark_fit.fit_factors(cluster, als.AlsOptions(), seed=1)
    with pytest.raises(ValueError, match=r"alpha = 4\.0: on Spark it must be above 4"):
        spark_fit.fit_factors(cluster, als.AlsOptions(alpha=4.0), seed=1)


def test_the_job_ends_with_the_step_that_waits_for_it(tmp_path: Path, events: Path) -> None:
    """SIGKILL, which no handler sees: Python and Java of the job end, too."""
    fit = (
        "from contextlib import nullcontext;"
        "from accident_reco.models.movies.candidates import als, spark_fit;"
        "from accident_reco.models.movies.data.split import SplitOptions;"
        "from accident_reco.models.movies.data.staged_ratings import StagedRatings;"
        f"staged = StagedRatings(('file:///none',), (), 0, '{tmp_path.as_uri()}/work');"
        "cluster = spark_fit.SparkCluster('local[1]', lambda: nullcontext(staged), SplitOptions(), 1460.0, 4.0, 10);"
        "spark_fit.fit_factors(cluster, als.AlsOptions(), seed=1)"
    )
    with subprocess.Popen([sys.executable, "-c", fit], stderr=subprocess.DEVNULL) as process:
        step = psutil.Process(process.pid)
        wait_for(lambda: any(child.name() == "java" for child in step.children(recursive=True)), 30)
        job = step.children(recursive=True)
        step.kill()
    _, alive = psutil.wait_procs(job, timeout=20)
    assert alive == []


def test_another_master_is_refused(tmp_path: Path) -> None:
    """At the start, by the setting's name."""
    with pytest.raises(SettingsError, match=r"SPARK_MASTER = .mesos://x"):
        MovieSettings.load(home=tmp_path, spark_master="mesos://x")
