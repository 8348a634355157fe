"""MLflow through Dagster, on a real tracking database."""

import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import dagster as dg
import mlflow
import pytest

from accident_reco.defs.mlflow_tracking import (
    build_failure_hook,
    record_decision,
    send_waiting,
    spool_directory,
    track,
    track_search,
)
from accident_reco.defs.resources import Platform
from accident_reco.lifecycle.gate import Decision
from accident_reco.lifecycle.store import Pointer
from accident_reco.lifecycle.tracking import (
    TrackedRun,
    answers,
    failure_record,
    find_or_create_run,
    gate_record,
    log_alone,
    move_aliases,
    prepare_experiment,
    send_spooled,
    spool,
)
from accident_reco.lifecycle.tracking_spool import REASON
from accident_reco.models.accidents.training.tracked_search import describe_search

pytestmark = [
    # dagster-mlflow is a preview; its version is pinned.
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
    # MLflow and SQLAlchemy talk to each other in their own deprecated ways.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def _run(version: str) -> TrackedRun:
    tags = {"bundle_version": version, "data_source": "sample"}
    return TrackedRun("accidents", f"accidents-{version}", {"trees": 3}, {"roc_auc": 0.9}, tags, {"card.md": b"# card"})


REJECTED = Decision(
    False,
    "gain +0.0001 is not significant",
    {
        "champion": "older",
        "comparison": {
            "rows": 90,
            "groups": 40,
            "gain": {"value": 0.0001, "low": -0.002, "high": 0.003},
            "slices": [],
        },
    },
)


def _train(platform: Platform, found: list[str | None], pointer: Pointer) -> None:
    @dg.asset
    def trained(context: dg.AssetExecutionContext) -> None:
        found.append(track(context, platform, _run("new")))
        record_decision(context, platform, "accidents", "new", REJECTED, pointer)

    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([trained], instance=instance).success


def _pointer(version: str, previous: str | None) -> Pointer:
    return Pointer(version, "sha", "2026-01-01T00:00:00+00:00", "run", previous, "for a test")


def test_run_is_logged_evaluated_and_registered(tmp_path, monkeypatch):
    """Parameters, metrics, artifacts, the gate's decision, an earlier spooled run, and the registry's aliases."""
    monkeypatch.chdir(tmp_path)
    platform = Platform(home=str(tmp_path))
    spool(spool_directory(platform), _run("old"))
    found: list[str | None] = []
    _train(platform, found, _pointer("new", "old"))
    client = mlflow.MlflowClient(tracking_uri=platform.settings.tracking_uri)
    run = client.get_run(found[0])
    assert run.data.params == {"trees": "3"}
    assert run.data.metrics == {
        "roc_auc": 0.9,
        "gate_promoted": 0,
        "gate_gain": 0.0001,
        "gate_gain_low": -0.002,
        "gate_gain_high": 0.003,
        "gate_holdout_rows": 90,
        "gate_holdout_groups": 40,
    }
    assert run.data.tags["bundle_version"] == "new"
    tags = {name: run.data.tags[name] for name in ("gate", "gate.reason", "gate.champion")}
    assert tags == {"gate": "refused", "gate.reason": REJECTED.reason, "gate.champion": "older"}
    assert run.info.status == "FINISHED"
    assert [f.path for f in client.list_artifacts(run.info.run_id, "bundle")] == ["bundle/card.md", "bundle/gate.json"]
    aliases = {
        alias: client.get_model_version_by_alias("accidents", alias).tags["bundle_version"]
        for alias in ("champion", "previous")
    }
    assert aliases == {"champion": "new", "previous": "old"}
    assert set(move_aliases(platform.settings.tracking_uri, "accidents", "spooled still", "new")) == {"previous"}
    assert set(client.get_registered_model("accidents").aliases) == {"previous", "challenger"}
    assert list(spool_directory(platform).iterdir()) == []
    assert not (tmp_path / "mlruns").exists()


def test_histories_and_tables_are_logged_once(tmp_path, monkeypatch):
    """Metrics by step, more than one request takes, from the start of the training; tables as MLflow's own. An attempt
    that is repeated adds nothing."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    experiment = prepare_experiment(uri, "accidents", tmp_path / "mlartifacts")
    points = [(step, step / 1000, 1_700_000_000_000 + step) for step in range(1, 1201)]
    table = {"part": ["night", "day"], "rows": [3, float("nan")]}
    run = replace(_run("v"), history={"boosting/roc_auc": points}, tables={"slices": table})
    run_id = log_alone(uri, run)
    assert log_alone(uri, run) == run_id
    client = mlflow.MlflowClient(tracking_uri=uri)
    logged = client.get_metric_history(run_id, "boosting/roc_auc")
    assert sorted((one.step, one.value, one.timestamp) for one in logged) == points
    assert len(client.get_metric_history(run_id, "roc_auc")) == 1
    assert client.get_run(run_id).info.start_time == points[0][2]
    # Reads by the tracker of the process, which an earlier test may have set.
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    shown = client.load_table(experiment, "tables/slices.json", [run_id])
    mlflow.set_tracking_uri(before)
    assert shown["part"].tolist() == ["night", "day"]
    assert shown["rows"].isna().tolist() == [False, True]
    # The registry describes the model by the card of its champion; the pages show the experiment's charts.
    move_aliases(uri, "accidents", "v", None)
    assert client.get_registered_model("accidents").description == "# card"
    assert client.get_experiment(experiment).tags["mlflow.experimentKind"] == "custom_model_development"


def test_a_failed_training_is_a_failed_run_with_its_reason(tmp_path):
    """An error of a step, or a blocking check; an attempt that is repeated adds no second run, and no version."""
    key = dg.AssetKey(["accidents", "features"])

    @dg.asset(key=key)
    def broken():
        raise ValueError("the holdout has one class")

    @dg.asset(key=key, check_specs=[dg.AssetCheckSpec("complete", asset=key, blocking=True)])
    def incomplete():
        yield dg.Output(None)
        yield dg.AssetCheckResult(passed=False, check_name="complete")

    platform = Platform(home=str(tmp_path))
    uri, found = platform.settings.tracking_uri, list[str]()
    for asset in (broken, incomplete):
        job = dg.define_asset_job("train_accidents", selection=[asset], hooks={build_failure_hook("accidents")})
        defs = dg.Definitions([asset], jobs=[job], resources={"platform": platform})
        with dg.DagsterInstance.ephemeral() as instance:
            done = defs.resolve_job_def("train_accidents").execute_in_process(instance=instance, raise_on_error=False)
        assert not done.success
        found.append(done.run_id)
    client = mlflow.MlflowClient(tracking_uri=uri)
    (experiment,) = client.search_experiments(filter_string="name = 'accidents'")
    runs = {run.data.tags["dagster_run_id"]: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == set(found)
    assert [run.info.status for run in runs.values()] == ["FAILED", "FAILED"]
    assert {run.data.tags["failure.step"] for run in runs.values()} == {"accidents__features"}
    error, check = (runs[run_id].data.tags["failure.reason"] for run_id in found)
    assert error == "the holdout has one class"
    assert "accidents/features" in check
    assert "complete" in check
    again = failure_record("accidents", "train_accidents", found[0], "accidents__features", error)
    assert log_alone(uri, again) == runs[found[0]].info.run_id
    assert client.get_run(runs[found[0]].info.run_id).info.status == "FAILED"
    assert client.search_registered_models() == []


def test_training_continues_without_a_tracker_and_is_sent_later(tmp_path, monkeypatch):
    """An unreachable server causes a warning; run and decision are spooled, then logged as one run."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    platform = Platform(home=str(tmp_path))
    found: list[str | None] = []
    _train(platform, found, _pointer("new", None))
    assert found == [None]
    waiting = spool_directory(platform)
    assert sorted(place.name for place in waiting.iterdir()) == ["accidents-new", "accidents-new-gate"]

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    prepare_experiment(uri, "accidents", tmp_path / "mlartifacts")
    assert send_spooled(waiting, lambda run: log_alone(uri, run), lambda: answers(uri)).sent == 2
    client = mlflow.MlflowClient(tracking_uri=uri)
    runs = client.search_runs([client.get_experiment_by_name("accidents").experiment_id])
    assert [(run.data.tags["gate"], run.data.metrics["roc_auc"]) for run in runs] == [("refused", 0.9)]
    assert len(client.search_model_versions("name = 'accidents'")) == 1


@contextmanager
def _tracker(start: bytes, piece: bytes) -> Iterator[str]:
    """A port that accepts every connection, writes `start`, then repeats `piece`; without one it stays silent."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                self.request.sendall(start)
                while not stop.wait(0.1):
                    self.request.sendall(piece)

    stop = threading.Event()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            stop.set()
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("start", "piece"),
    [(b"", b""), (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"), (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b" ")],
    ids=["silent", "dripped-head", "dripped-body"],
)
def test_training_ends_within_the_budget_when_the_tracker_hangs(tmp_path, monkeypatch, start, piece):
    """The port is open and sends nothing, or single bytes: run and decision are spooled within the budget."""
    budget = 6
    with _tracker(start, piece) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.setenv("ACCIDENT_RECO_TRACKING_SECONDS", str(budget))
        platform = Platform(home=str(tmp_path))
        found: list[str | None] = []
        began = time.monotonic()
        _train(platform, found, _pointer("new", None))
        took = time.monotonic() - began
    assert found == [None]
    assert took < 2 * budget + 5  # one budget for the run, one for the decision
    assert sorted(place.name for place in spool_directory(platform).iterdir()) == [
        "accidents-new",
        "accidents-new-gate",
    ]


def test_rejected_run_does_not_block_others(tmp_path, monkeypatch):
    """One in the spool and one just trained: each is set aside with its reason, every other is logged once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    platform = Platform(home=str(tmp_path))
    waiting = spool_directory(platform)
    bad = replace(_run("bad"), params={"no such name?!": "x"})
    spool(waiting, bad)
    spool(waiting, _run("old"))
    trained = [_run("one"), replace(_run("two"), tags={"bundle_version": "two", "?!": "x"}), _run("three")]
    found: list[str | None] = []

    @dg.asset
    def training(context: dg.AssetExecutionContext) -> None:
        found.append(track(context, platform, trained.pop(0)))

    for _ in range(3):
        with dg.DagsterInstance.ephemeral() as instance:
            assert dg.materialize([training], instance=instance).success
    client = mlflow.MlflowClient(tracking_uri=platform.settings.tracking_uri)
    runs = client.search_runs([client.get_experiment_by_name("accidents").experiment_id])
    logged = {run.info.run_id: run.data.tags["bundle_version"] for run in runs if run.info.status == "FINISHED"}
    assert sorted(logged.values()) == ["old", "one", "three"]
    assert [logged.get(run_id) for run_id in found] == ["one", None, "three"]
    assert sorted(run.info.status for run in runs) == ["FAILED"] * 2 + ["FINISHED"] * 3
    assert sorted(place.name for place in waiting.iterdir()) == ["accidents-bad", "accidents-two"]
    assert all("Invalid value" in (place / REASON).read_text() for place in waiting.iterdir())


def test_attempt_of_unknown_outcome_is_completed(tmp_path):
    """Killed after the run was created or fully logged: the next attempt completes the same run."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    experiment = prepare_experiment(uri, "accidents", tmp_path / "mlartifacts")
    run = _run("v")
    begun = find_or_create_run(uri, experiment, run)
    spool(tmp_path / "mlflow", run)
    assert log_alone(uri, run) == begun
    assert send_spooled(tmp_path / "mlflow", lambda again: log_alone(uri, again), lambda: answers(uri)).sent == 1
    (only,) = mlflow.MlflowClient(tracking_uri=uri).search_runs([experiment])
    assert (only.info.run_id, only.info.status, only.data.metrics) == (begun, "FINISHED", {"roc_auc": 0.9})


def test_decision_on_a_version_unknown_to_the_tracker_is_logged(tmp_path):
    """A rollback to a version of another tracker is logged as a run of its own."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    prepare_experiment(uri, "accidents", tmp_path / "mlartifacts")
    run_id = log_alone(uri, gate_record("accidents", "elsewhere", Decision(True, "rolled back")))
    run = mlflow.MlflowClient(tracking_uri=uri).get_run(run_id)
    assert run.data.tags["gate.reason"] == "rolled back"
    assert run.data.metrics == {"gate_promoted": 1}
    assert run.info.status == "FINISHED"


SEARCH = {
    "data_source": "sample",
    **{
        kind: {
            "chosen": {"leaf": 7},
            "gain": 0.01,
            "seconds": 2.0,
            "trials": [
                {"parameters": {"leaf": 10}, "roc_auc": (0.7, 0.72, 0.71, 0.73)},
                {"parameters": {"leaf": 20}, "roc_auc": (0.6,)},
                {"parameters": {"leaf": 7}, "roc_auc": (0.72, 0.73, 0.72, 0.74)},
            ],
        }
        for kind in ("forest", "boosting")
    },
}


def test_trials_of_a_search_are_child_runs(tmp_path, monkeypatch):
    """Logged, spooled beside a tracker that is away and sent later: each trial once, below its search, by fold."""
    monkeypatch.chdir(tmp_path)
    local = Platform(home=str(tmp_path))
    tracker = local.settings.tracking_uri
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    away = Platform(home=str(tmp_path))

    @dg.asset
    def searched(context: dg.AssetExecutionContext) -> None:
        # Metrics carry the time of the call, which a tracker takes for other values.
        runs = describe_search("accidents", SEARCH, "tune_accidents", "0123456789abcdef")
        track_search(context, away, runs)  # a failure here would fail the search
        track_search(context, local, runs[:3])

    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([searched], instance=instance).success
    assert send_waiting(tracker, tmp_path, 600).sent == 8
    client = mlflow.MlflowClient(tracking_uri=tracker)
    experiment = client.get_experiment_by_name("accidents").experiment_id
    runs = client.search_runs([experiment])
    by_name = {run.info.run_name: run for run in runs}
    assert len(by_name) == len(runs) == 8
    for kind in ("forest", "boosting"):
        name = f"accidents-search-01234567-{kind}"
        parent, *trials = (by_name[name + end] for end in ("", "-trial-00", "-trial-01", "-trial-02"))
        assert parent.data.params == {"leaf": "7"}
        assert parent.data.metrics["trials"] == 3
        assert {trial.data.tags["mlflow.parentRunId"] for trial in trials} == {parent.info.run_id}
        assert [trial.data.params["leaf"] for trial in trials] == ["10", "20", "7"]
        assert [trial.data.tags["state"] for trial in trials] == ["complete", "ended early", "complete"]
        folds = client.get_metric_history(trials[0].info.run_id, "roc_auc")
        assert [(point.step, point.value) for point in folds] == [(1, 0.7), (2, 0.72), (3, 0.71), (4, 0.73)]
        assert len(client.get_metric_history(trials[1].info.run_id, "roc_auc")) == 1
        assert {run.info.status for run in (parent, *trials)} == {"FINISHED"}
