"""The tracker: MLflow on PostgreSQL and S3 behind a login, as DagsHub has it, by the standard variables."""

import configparser
import secrets
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from accident_reco.defs.mlflow_tracking import log_training, send_waiting
from accident_reco.launch import stack_servers as servers
from accident_reco.launch.processes import Children, free_port
from accident_reco.lifecycle import tracking, tracking_spool
from accident_reco.lifecycle.bounded_call import call_within
from accident_reco_tests.e2e.conftest import S3, Postgres

pytestmark = pytest.mark.e2e
RUN = tracking.TrackedRun(
    experiment="accidents",
    name="run",
    params={"trees": 3},
    metrics={"roc_auc": 0.8},
    tags={tracking.VERSION_TAG: "0123456789abcdef"},
    artifacts={"card.md": b"# Card"},
)


@pytest.fixture(scope="module")
def tracker(
    postgres: Postgres, s3_server: S3, children: Children, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """MLflow's own server with its basic-auth app, and the admin's password."""
    folder: Path = tmp_path_factory.mktemp("mlflow")
    password, port = secrets.token_urlsafe(12), free_port()
    config = configparser.ConfigParser()
    config["mlflow"] = {
        "default_permission": "READ",
        "database_uri": f"sqlite:///{folder / 'auth.db'}",
        "admin_username": "ada",
        "admin_password": password,
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
    }
    with (folder / "auth.ini").open("w") as file:
        config.write(file)
    environ = s3_server.environ | {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(16),
    }
    ready = servers.start_mlflow(
        children, port, postgres.new_database(), "s3://artifacts/mlflow", ("--app-name", "basic-auth"), **environ
    )
    children.await_ready({"mlflow": ready}, 150)
    yield f"http://127.0.0.1:{port}", password
    children.kill("mlflow")


def test_runs_artifacts_and_aliases_with_a_login(
    tracker: tuple[str, str], s3_server: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """User and password by MLflow's own names: a spooled run is sent, its card is in S3, aliases move."""
    uri, password = tracker
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
    tracking.spool(tmp_path, RUN)

    def send(run: tracking.TrackedRun) -> None:
        tracking.prepare_experiment(uri, run.experiment, tmp_path)
        tracking.log_alone(uri, run)

    assert tracking.send_spooled(tmp_path, send, lambda: tracking.answers(uri)).sent == 1
    assert tracking.send_spooled(tmp_path, send, lambda: tracking.answers(uri)).sent == 0
    moved = tracking.move_aliases(uri, "accidents", "0123456789abcdef", None)
    client = mlflow.MlflowClient(tracking_uri=uri)
    version = client.get_model_version_by_alias("accidents", "champion")
    assert moved == {"champion": version.version}
    assert client.get_run(version.run_id).data.metrics == {"roc_auc": 0.8}
    s3 = _s3_keys(s3_server)
    assert any(key.endswith("bundle/card.md") for key in s3), s3


def _made(version: str, **changes: Any) -> tracking.TrackedRun:
    own = {"experiment": "movies", "name": version, "tags": {tracking.VERSION_TAG: version}, "key": uuid.uuid4().hex}
    return replace(RUN, **own | changes)


# What the server rejects by name, and what its database cannot hold: an error 500.
POISON = {"bad-name": {"params": {"no such name?!": "x"}}, "nul": {"params": {"trees": "a\0b"}}}


def test_runs_that_can_never_be_sent_do_not_affect_others(
    tracker: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every other run is logged once; each of these leaves one ended run at most, and is kept aside with the reason."""
    uri, password = tracker
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    waiting = tmp_path / "spool" / "mlflow"
    places = [tracking.spool(waiting, _made(name, **changes)) for name, changes in POISON.items()]
    for place in places:
        (place / tracking_spool.ATTEMPTS).write_text(str(tracking_spool.MAX_ATTEMPTS - 2))
    (tracking.spool(waiting, _made("damaged")) / tracking_spool.DOCUMENT).write_text("{")
    for version in "ab":
        tracking.spool(waiting, _made(version))
        assert send_waiting(uri, tmp_path, 600).sent == 1
    client = mlflow.MlflowClient(tracking_uri=uri)
    runs = client.search_runs([client.get_experiment_by_name("movies").experiment_id])
    ended = [run for run in runs if run.info.status == "FINISHED"]
    assert sorted(run.data.tags[tracking.VERSION_TAG] for run in ended) == ["a", "b"]
    assert [run.info.status for run in runs if run not in ended] == ["FAILED"] * len(POISON)
    aside = {place.name: (place / tracking_spool.REASON).read_text() for place in waiting.iterdir()}
    assert sorted(aside) == ["movies-bad-name", "movies-damaged", "movies-nul"]
    assert "no such name?!" in aside["movies-bad-name"]


def test_a_run_that_was_logged_but_not_reported_is_found_again(
    tracker: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time budget ended before the tracker answered, so the run was spooled too: sent again, it is the same run."""
    uri, password = tracker
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
    run = _made("twice", experiment="spool-twice")
    run_id = call_within(120, {}, log_training, uri, tmp_path, run, "job", str(uuid.uuid4()))
    tracking.spool(tmp_path / "spool" / "mlflow", run)
    assert call_within(120, {}, send_waiting, uri, tmp_path, 120).sent == 1
    client = mlflow.MlflowClient(tracking_uri=uri)
    (only,) = client.search_runs([client.get_experiment_by_name("spool-twice").experiment_id])
    assert (only.info.run_id, only.info.status) == (run_id, "FINISHED")
    assert len(client.search_model_versions("name = 'spool-twice'")) == 1


def test_a_tracker_that_fails_midway_does_not_count_as_an_attempt(
    tracker: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login that is no longer valid is a fault of the tracker, not of the run: no run is set aside."""
    uri, _ = tracker
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    place = tracking.spool(tmp_path / "spool" / "mlflow", _made("later"))
    for _ in range(tracking_spool.MAX_ATTEMPTS + 1):
        report = send_waiting(uri, tmp_path, 60)
        assert (report.sent, report.rejected) == (0, {})
    assert (place / tracking_spool.DOCUMENT).exists()


def test_a_wrong_password_is_reported(tracker: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names status 401, so that the run is spooled instead of retried in a loop."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    with pytest.raises(MlflowException, match="401"):
        mlflow.MlflowClient(tracking_uri=tracker[0]).search_experiments()


def test_an_unreachable_tracker_is_detected_at_once() -> None:
    """Training checks the tracker first and spools the run; it never waits for an unreachable tracker."""
    assert not tracking.reachable(f"http://127.0.0.1:{free_port()}", seconds=1)


def _s3_keys(server: S3) -> list[str]:
    from botocore.config import Config
    from botocore.session import get_session

    client = get_session().create_client(
        "s3",
        "us-east-1",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        config=Config(s3={"addressing_style": "path"}),
    )
    return [item["Key"] for item in client.list_objects_v2(Bucket="artifacts", Prefix="mlflow/").get("Contents", [])]
