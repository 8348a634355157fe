"""A failed run is recorded and notified once, to a real webhook; an unreachable webhook stops nothing."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import dagster as dg
import pytest

from accident_reco.defs import retrain_sensors
from accident_reco.defs.failures import describe_failure
from accident_reco.defs.resources import Platform
from accident_reco.drift.notify import notify
from accident_reco.settings import Settings
from accident_reco.storage.tables.loop import notifications


@pytest.fixture
def platform(tmp_path):
    made = Platform(home=str(tmp_path))
    made.warehouse.upgrade()
    yield made
    made.warehouse.close()


@pytest.fixture
def webhook():
    """URL of a server, and the notifications that it received."""
    received: list[dict] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Log nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", received
    server.shutdown()
    thread.join(5)
    server.server_close()


def kept(platform: Platform) -> list[tuple[str, str]]:
    with platform.warehouse.connect() as connection:
        return [(row.subject, row.delivered) for row in connection.execute(notifications.select())]


def test_failed_run_is_recorded_and_notified_once(platform, webhook, monkeypatch) -> None:
    """The sensor's body on a run that failed; evaluated twice, notified once."""
    url, received = webhook
    monkeypatch.setenv("ACCIDENT_RECO_NOTIFY_URL", url)

    @dg.op
    def burst() -> None:
        raise RuntimeError("the disk is full")

    @dg.job
    def doomed() -> None:
        burst()

    (sensor,) = [
        s for s in retrain_sensors.definitions(["accidents"], Settings.load()).sensors or () if s.name == "failed_runs"
    ]
    with dg.DagsterInstance.ephemeral() as instance:
        result = doomed.execute_in_process(instance=instance, raise_on_error=False)
        (failure,) = [event for event in result.all_events if event.is_job_failure]
        for _ in range(2):
            context = dg.build_run_status_sensor_context(
                sensor_name="failed_runs",
                dagster_instance=instance,
                dagster_run=result.dagster_run,
                dagster_event=failure,
                resources={"platform": Platform(home=platform.home)},
            )
            sensor(context.for_run_failure())
    (message,) = received
    assert message["kind"] == "run_failure"
    assert message["subject"] == result.run_id
    assert "of doomed failed: burst: RuntimeError: the disk is full" in message["text"]
    assert kept(platform) == [(result.run_id, "sent")]


def test_failure_names_the_blocking_check() -> None:
    """A warning that failed first did not stop the run."""

    @dg.asset
    def rows() -> None:
        """Checked."""

    @dg.asset_check(asset=rows)
    def first() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, description="a little odd")

    @dg.asset_check(asset=rows, blocking=True)
    def second() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False, description="3 % rejected")

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([rows, first, second], instance=instance, raise_on_error=False)
        assert describe_failure(instance, result.run_id) == "rows fails second: 3 % rejected"
        sound = dg.materialize([rows], instance=instance)
        assert describe_failure(instance, sound.run_id) is None


def test_interrupted_run() -> None:
    """The platform was stopped during a step."""

    @dg.job
    def stopped() -> None:
        @dg.op
        def long() -> None:
            raise dg.DagsterExecutionInterruptedError

        long()

    with dg.DagsterInstance.ephemeral() as instance:
        run_id = stopped.execute_in_process(instance=instance, raise_on_error=False).run_id
        assert describe_failure(instance, run_id) == "long: was interrupted"


def test_unreachable_webhook_stops_nothing(platform) -> None:
    """The notification is recorded as failed, and the loop continues."""
    settings = Settings.load(home=platform.home, notify_url="http://127.0.0.1:1/hook")
    assert notify(settings, platform.warehouse, "suggestion", "a", "train") == "failed"
    assert notify(settings, platform.warehouse, "suggestion", "a", "train") == "known"
    assert notify(Settings.load(home=platform.home), platform.warehouse, "suggestion", "b", "train") == "recorded"
    assert kept(platform) == [("a", "failed"), ("b", "recorded")]
