"""MLflow through Dagster, on a real database of its own."""

import dagster as dg
import mlflow
import pytest

from accident_reco.defs.mlflow_tracking import follow_pointer, spool_directory, track
from accident_reco.defs.resources import Platform
from accident_reco.lifecycle.tracking import TrackedRun, spool

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


def test_a_run_is_logged_registered_and_followed(tmp_path, monkeypatch):
    """Parameters, metrics, artifacts, a spooled run from before, and the aliases of the registry."""
    monkeypatch.chdir(tmp_path)
    platform = Platform(home=str(tmp_path))
    spool(spool_directory(platform), _run("old"))
    found: list[str | None] = []

    @dg.asset
    def trained(context: dg.AssetExecutionContext) -> None:
        found.append(track(context, platform, _run("new")))
        follow_pointer(context, platform, "accidents", "new", "old")

    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([trained], instance=instance).success
    client = mlflow.MlflowClient(tracking_uri=platform.settings.tracking_uri)
    run = client.get_run(found[0])
    assert run.data.params == {"trees": "3"}
    assert run.data.metrics == {"roc_auc": 0.9}
    assert run.data.tags["bundle_version"] == "new"
    assert run.info.status == "FINISHED"
    assert [f.path for f in client.list_artifacts(run.info.run_id, "bundle")] == ["bundle/card.md"]
    aliases = {alias: client.get_model_version_by_alias("accidents", alias).tags["bundle_version"]
               for alias in ("champion", "previous")}  # fmt: skip
    assert aliases == {"champion": "new", "previous": "old"}
    assert list(spool_directory(platform).iterdir()) == []
    assert not (tmp_path / "mlruns").exists()


def test_training_goes_on_without_a_tracker(tmp_path, monkeypatch):
    """An unreachable server costs a warning; the run waits."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    platform = Platform(home=str(tmp_path))
    found: list[str | None] = []

    @dg.asset
    def trained(context: dg.AssetExecutionContext) -> None:
        found.append(track(context, platform, _run("new")))
        follow_pointer(context, platform, "accidents", "new", None)

    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([trained], instance=instance).success
    assert found == [None]
    assert [place.name for place in spool_directory(platform).iterdir()] == ["accidents-new"]
