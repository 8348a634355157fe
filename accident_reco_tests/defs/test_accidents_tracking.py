"""MLflow through Dagster, on a real database of its own."""

import dagster as dg
import mlflow
import pytest

from accident_reco.defs.mlflow_tracking import follow_pointer, record_decision, spool_directory, track
from accident_reco.defs.resources import Platform
from accident_reco.lifecycle.gate import Decision
from accident_reco.lifecycle.store import Pointer
from accident_reco.lifecycle.tracking import (
    TrackedRun,
    gate_record,
    log_alone,
    move_aliases,
    prepare_experiment,
    send_spooled,
    spool,
)

pytestmark = [
    # dagster-mlflow calls itself a preview; the pin in pyproject holds it still.
    pytest.mark.filterwarnings("ignore::dagster_shared.utils.warnings.BetaWarning"),
    # MLflow and SQLAlchemy talk to each other in their own deprecated ways.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def _run(version: str) -> TrackedRun:
    tags = {"bundle_version": version, "data_source": "sample"}
    return TrackedRun("accidents", f"accidents-{version}", {"trees": 3}, {"roc_auc": 0.9}, tags, {"card.md": b"# card"})


REFUSED = Decision(False, "gain +0.0001 could be chance", {"champion": "older", "comparison": {
    "rows": 90, "groups": 40, "gain": {"value": 0.0001, "low": -0.002, "high": 0.003}, "slices": [],
}})  # fmt: skip


def _train(platform: Platform, found: list[str | None], pointer: Pointer) -> None:
    @dg.asset
    def trained(context: dg.AssetExecutionContext) -> None:
        found.append(track(context, platform, _run("new")))
        record_decision(context, platform, "accidents", "new", REFUSED)
        follow_pointer(context, platform, "accidents", pointer)

    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([trained], instance=instance).success


def _pointer(version: str, previous: str | None) -> Pointer:
    return Pointer(version, "sha", "2026-01-01T00:00:00+00:00", "run", previous, "for a test")


def test_a_run_is_logged_judged_registered_and_followed(tmp_path, monkeypatch):
    """Parameters, metrics, artifacts, the gate's word, a spooled run from before, and the aliases of the registry."""
    monkeypatch.chdir(tmp_path)
    platform = Platform(home=str(tmp_path))
    spool(spool_directory(platform), _run("old"))
    found: list[str | None] = []
    _train(platform, found, _pointer("new", "old"))
    client = mlflow.MlflowClient(tracking_uri=platform.settings.tracking_uri)
    run = client.get_run(found[0])
    assert run.data.params == {"trees": "3"}
    assert run.data.metrics == {
        "roc_auc": 0.9, "gate_promoted": 0, "gate_gain": 0.0001, "gate_gain_low": -0.002, "gate_gain_high": 0.003,
        "gate_holdout_rows": 90, "gate_holdout_groups": 40,
    }  # fmt: skip
    assert run.data.tags["bundle_version"] == "new"
    told = {name: run.data.tags[name] for name in ("gate", "gate.reason", "gate.champion")}
    assert told == {"gate": "refused", "gate.reason": REFUSED.reason, "gate.champion": "older"}
    assert run.info.status == "FINISHED"
    assert [f.path for f in client.list_artifacts(run.info.run_id, "bundle")] == ["bundle/card.md", "bundle/gate.json"]
    aliases = {alias: client.get_model_version_by_alias("accidents", alias).tags["bundle_version"]
               for alias in ("champion", "previous")}  # fmt: skip
    assert aliases == {"champion": "new", "previous": "old"}
    assert set(move_aliases(platform.settings.tracking_uri, "accidents", "spooled still", "new")) == {"previous"}
    assert set(client.get_registered_model("accidents").aliases) == {"previous", "challenger"}
    assert list(spool_directory(platform).iterdir()) == []
    assert not (tmp_path / "mlruns").exists()


def test_training_goes_on_without_a_tracker_and_all_of_it_arrives_later(tmp_path, monkeypatch):
    """An unreachable server costs a warning; run and decision wait, and come together in one run."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    platform = Platform(home=str(tmp_path))
    found: list[str | None] = []
    _train(platform, found, _pointer("new", None))
    assert found == [None]
    waiting = spool_directory(platform)
    assert sorted(place.name for place in waiting.iterdir()) == ["accidents-new", "accidents-new-gate"]

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    prepare_experiment(uri, "accidents", tmp_path / "mlartifacts")
    assert send_spooled(waiting, lambda run: log_alone(uri, run)) == 2
    client = mlflow.MlflowClient(tracking_uri=uri)
    runs = client.search_runs([client.get_experiment_by_name("accidents").experiment_id])
    assert [(run.data.tags["gate"], run.data.metrics["roc_auc"]) for run in runs] == [("refused", 0.9)]
    assert len(client.search_model_versions("name = 'accidents'")) == 1


def test_a_decision_on_a_version_that_the_tracker_never_saw_is_kept(tmp_path):
    """A rollback to a version trained under another tracker gets a run of its own, and blocks nothing."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    prepare_experiment(uri, "accidents", tmp_path / "mlartifacts")
    run_id = log_alone(uri, gate_record("accidents", "elsewhere", Decision(True, "rolled back")))
    run = mlflow.MlflowClient(tracking_uri=uri).get_run(run_id)
    assert run.data.tags["gate.reason"] == "rolled back"
    assert run.data.metrics == {"gate_promoted": 1}
    assert run.info.status == "FINISHED"
