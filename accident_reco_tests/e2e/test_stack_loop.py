"""The whole loop on `make stack`, through Alertmanager: real servers; only the alert requests a training."""

import json
import shlex
import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accident_reco.launch.loop import REACTION_SECONDS, TRAIN_SECONDS, Loop
from accident_reco.launch.processes import LaunchError, free_port
from accident_reco.launch.stack_servers import paired_port
from accident_reco.models.accidents.demo import AccidentDemo, write_moved_year, write_year
from accident_reco.settings import Settings
from accident_reco_tests.support.running import Running, environment

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]
STACK_SECONDS = 600.0
ALERT_SECONDS = 300.0
"""The rule waits for a minute; on a busy machine a late scrape restarts it."""
PEOPLE = 1_000
SMALL_LOOP = {
    "MOVIES_SAMPLE_RATINGS": "2000",
    "AUTH_REQUIRED": "false",
    "SCRAPE_SECONDS": "5",
    "LOOP_SECONDS": "5",
    "TRIGGER_SECONDS": "5",
    "ACCIDENTS_WATCH_SECONDS": "5",
    "DRIFT_WINDOW_ROWS": "1000",
    "DRIFT_SHARE": "0.3",
    "DRIFT_SCHEDULE": "0 0 1 1 *",
    "DRIFT_SAMPLE_ROWS": "0",
    # One window with drift is enough here; the hysteresis is tested by the demonstration.
    "RETRAIN_NEEDED": "1",
    "RETRAIN_WINDOW": "1",
    "RETRAIN_NEW_YEARS": "9",
    "RETRAIN_IN_ONE_PROCESS": "true",
    "ACCIDENTS_FLOOR": "0.5",
    "ACCIDENTS_MINIMUM_GAIN": "0.0",
    "ACCIDENTS_FOREST_TREES": "20",
    "ACCIDENTS_BOOSTING_ROUNDS": "40",
}


@pytest.fixture
def stack(stack_folder: Path) -> Iterator[Running]:
    """`make stack` with one small year; a drifted year is published when the services start."""
    home = stack_folder / "whole-loop"
    published = home / "published"
    published.mkdir(parents=True)
    home.chmod(0o755)
    write_year(published, 2022, PEOPLE)
    names = ("POSTGRES", "MLFLOW", "PROMETHEUS", "ALERTMANAGER", "EXPORTER")
    variables = {f"{name}_PORT": str(free_port()) for name in names} | SMALL_LOOP
    variables |= {"S3_PORT": str(paired_port()), "ACCIDENTS_SOURCE": str(published)}
    env = environment(home, **{f"ACCIDENT_RECO_{name}": value for name, value in variables.items()})
    running = Running(env, target="stack")
    try:
        running.await_text("starting services", STACK_SECONDS)
        write_moved_year(published, 2024, PEOPLE * 40)
        running.await_text(r"environment +\S+", STACK_SECONDS)
        yield running
    finally:
        running.stop(signal.SIGTERM, 40)


@pytest.fixture
def loop(stack: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loop]:
    """Client of its loop, with the variables that the stack writes for other commands."""
    home = Path(stack.env["ACCIDENT_RECO_HOME"])
    written = dict(line.split("=", 1) for line in (home / "stack" / "environment").read_text().splitlines())
    for name, value in (stack.env | {name: shlex.split(value)[0] for name, value in written.items()}).items():
        monkeypatch.setenv(name, value)

    def require_alive() -> None:
        if stack.process.poll() is not None:
            raise LaunchError(stack.screen)

    settings = Settings.load()
    client = Loop("accidents", AccidentDemo(), settings, require_alive, print)
    yield client
    client.close()


def request_json(url: str, body: Any = None) -> Any:
    """JSON of an HTTP API."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


HERE = {"repositoryLocationName": "accident_reco", "repositoryName": "__repository__"}


def switch_sensor_off(loop: Loop, name: str) -> None:
    """Stop a sensor as the switch in Dagster's UI does."""
    query = "query($s: SensorSelector!) {sensorOrError(sensorSelector: $s) {... on Sensor {sensorState {id}}}}"
    found = loop.graphql(query, s=HERE | {"sensorName": name})["sensorOrError"]
    stop = "mutation($id: String!) {stopSensor(id: $id) {... on StopSensorMutationResult {instigationState {status}}}}"
    stopped = loop.graphql(stop, id=found["sensorState"]["id"])
    assert stopped["stopSensor"]["instigationState"]["status"] == "STOPPED", stopped


def launch(loop: Loop, job: str, config: dict[str, Any]) -> None:
    """Launch a job as the launchpad in Dagster's UI does."""
    query = "mutation($p: ExecutionParams!) {launchRun(executionParams: $p) {__typename}}"
    parameters = {"selector": HERE | {"jobName": job}, "runConfigData": config, "mode": "default"}
    assert loop.graphql(query, p=parameters)["launchRun"]["__typename"] == "LaunchRunSuccess"


def alert_state(settings: Settings) -> str:
    """State of the accident model's drift alert in Prometheus."""
    found = request_json(f"http://127.0.0.1:{settings.prometheus_port}/api/v1/alerts")["data"]["alerts"]
    about = {"alertname": "DatasetDrift", "model": "accidents"}
    states = [alert["state"] for alert in found if about.items() <= alert["labels"].items()]
    return states[0] if states else "inactive"


def test_alert_closes_the_loop(loop: Loop) -> None:
    """Gauge → Prometheus → Alertmanager → webhook → policy → training → gate → new answers → gauge; one run of it.
    Then a rollback in Dagster's UI: the API answers with the previous version."""
    settings = loop.settings
    switch_sensor_off(loop, "drift_reports")
    first = loop.champion()
    assert alert_state(settings) == "inactive"
    loop.wait(lambda: loop.is_ingested(2024), TRAIN_SECONDS, "the sensor ingested the new year")
    loop.send(2024, seed=1)
    assert loop.report()["status"] == "drift"
    before = loop.drift_share()
    loop.wait(lambda: alert_state(settings) == "firing", ALERT_SECONDS, "the alert fires")
    loop.wait(lambda: bool(loop.decisions()), REACTION_SECONDS, "the policy decided on the alert")
    (decided,) = loop.decisions()
    assert (decided["source"], decided["action"]) == ("alert", "train")
    loop.wait(lambda: loop.champion() != first, TRAIN_SECONDS, "the gate promoted a new version")
    assert loop.latest_promotion_decision()["version"] == loop.champion()
    assert "gain +" in loop.latest_promotion_decision()["reason"]
    loop.wait(lambda: loop.request_outcome(decided["request_id"]) == "promoted", REACTION_SECONDS, "the request ended")
    loop.send(2024, seed=2)
    assert loop.report()["status"] != "drift"
    loop.wait(lambda: loop.drift_share() < before, REACTION_SECONDS, "the gauge falls")
    loop.wait(lambda: alert_state(settings) == "inactive", REACTION_SECONDS, "the alert is resolved")
    assert len(loop.decisions()) == 1

    launch(loop, "rollback_model", {"ops": {"roll_back_pointer": {"config": {"model": "accidents"}}}})
    started = time.monotonic()
    loop.wait(lambda: loop.champion() == first, REACTION_SECONDS, "the previous version answers again")
    print(f"rolled back {time.monotonic() - started:.1f} s after the job was launched")
