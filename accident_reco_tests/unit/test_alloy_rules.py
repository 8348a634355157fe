"""What Loki receives of the lines that the containers' programs write: service, level, ids and reason of each kind.

The lines are output of real programs; `accident_reco_tests/e2e/test_containers.py` holds the rules to running ones.
"""

from __future__ import annotations

import json
import re

import pytest
import yaml

from accident_reco.launch.stack_config import DEPLOY
from accident_reco.log_lines import build_line
from accident_reco_tests.support.alloy import ALLOY, Entry, Pipeline, parse, send

RUN = "a4f46313-fee7-4816-9445-d2afb26a6db4"
RUN_TEXT = f"2026-11-27 17:40:54 +0000 - dagster - INFO - train_movies - {RUN} - gate - movies v2: gain below 0.002"
RUN_ERROR = f"""\
2026-11-27 17:41:04 +0000 - dagster - ERROR - train_movies - {RUN} - 11861 - fit - STEP_FAILURE - Execution failed.

dagster._core.errors.DagsterExecutionStepExecutionError: Error occurred while executing op "fit"::

ValueError: the rows are wrong

Stack Trace:
  File "/app/package/accident_reco/fit.py", line 13, in fit
    raise ValueError("the rows are wrong")
""".splitlines()
TRACEBACK = """\
Traceback (most recent call last):
  File "/app/package/serving/predict/app.py", line 1, in <module>
    import nowhere
ModuleNotFoundError: No module named 'nowhere'
(Background on this error at: https://sqlalche.me/e/20/e3q8)
""".splitlines()
TEXT = [
    ("postgres", "2026-11-27 17:39:11.721 UTC [1] LOG:  starting PostgreSQL 17.5", "info"),
    ("postgres", "2026-11-27 17:39:12.001 UTC [71] WARNING:  there is no transaction in progress", "warning"),
    ("postgres", '2026-11-27 17:39:12.001 UTC [71] platform@platform ERROR:  relation "x" does not exist', "error"),
    ("postgres", "2026-11-27 17:39:12.001 UTC [71] FATAL:  password authentication failed", "error"),
    ("postgres", "2026-11-27 17:39:12.001 UTC [71] PANIC:  could not write to file", "critical"),
    ("postgres", "fixing permissions on existing directory /var/lib/postgresql/data ... ok", "info"),
    ("redis", "1:M 27 Nov 2026 17:39:10.970 * Ready to accept connections", "info"),
    ("redis", "1:M 27 Nov 2026 17:39:10.968 # WARNING Memory overcommit must be enabled!", "warning"),
    ("s3", "I1127 17:39:11.456299 master.go:400 current: localhost:9333 peers:none", "info"),
    ("s3", "W1127 17:39:11.456299 s3.go:12 slow", "warning"),
    ("s3", "E1127 17:39:11.456299 volume.go:12 no space left on device", "error"),
    ("s3", "F1127 17:39:11.456299 weed.go:12 cannot listen", "critical"),
    ("s3", "  Starting SeaweedFS Mini ...", "info"),
    ("mlflow", "2026/11/27 17:39:24 INFO mlflow.store.db.utils: Updating database tables", "info"),
    ("mlflow", "2026/11/27 17:39:24 WARNING mlflow.utils: retrying", "warning"),
    ("mlflow", "2026/11/27 17:39:24 ERROR mlflow.server: Exception on /api", "error"),
    ("mlflow", '2026/11/27 17:39:31 INFO:     127.0.0.1:34124 - "GET /health HTTP/1.1" 200 OK', "info"),
    ("mlflow", '2026/11/27 17:39:31 INFO:     127.0.0.1:3 - "POST /api HTTP/1.1" 500 Internal Server Error', "error"),
    ("mlflow", "/opt/venv/x.py:23: StarletteDeprecationWarning: starlette.middleware.wsgi is deprecated", "warning"),
    ("prepare", "prepared", "info"),
    ("prepare", "error: the database belongs to another installation", "error"),
    ("code", "2026-11-27 17:40:38 +0000 - dagster - INFO - __repository__ - of_another - started 2", "info"),
    ("code", "2026-11-27 17:40:38 +0000 - dagster - ERROR - __repository__ - of_another - no answer", "error"),
    ("loki", "panic: runtime error: invalid memory address or nil pointer dereference", "critical"),
    ("worker", "Fatal Python error: Segmentation fault", "critical"),
]
JSON = [
    ("prometheus", '{"time":"2026-11-27T17:39:11Z","level":"INFO","msg":"Starting Prometheus Server"}', "info"),
    ("alertmanager", '{"caller":"main.go:241","level":"warn","msg":"x","ts":"2026-11-27T17:39:11Z"}', "warning"),
    ("grafana", '{"level":"error","logger":"context","msg":"Request error","t":"2026-11-27T17:39:11Z"}', "error"),
    ("grafana", '{"level":"eror","logger":"old","msg":"x","t":"2026-11-27T17:39:11Z"}', "error"),
    ("loki", '{"caller":"main.go","level":"fatal","msg":"x","ts":"2026-11-27T17:39:11Z"}', "critical"),
    ("dagster", '{"event":"x","level":"warning","timestamp":"2026-11-27T17:39:11Z"}', "warning"),
    ("alloy", '{"ts":"2026-11-27T17:39:11Z","msg":"without a level"}', "info"),
]


@pytest.mark.parametrize(("service", "line", "level"), TEXT)
def test_text_has_the_level_of_its_format(service: str, line: str, level: str) -> None:
    """The line arrives as it was written, with few labels."""
    (entry,) = send([line], service)
    assert (entry.line, entry.labels) == (line, {"service": service, "level": level})


@pytest.mark.parametrize(("service", "line", "level"), JSON)
def test_json_has_its_own_level_and_time(service: str, line: str, level: str) -> None:
    """Programs name level and time differently."""
    (entry,) = send([line], service)
    assert (entry.line, entry.labels) == (line, {"service": service, "level": level})
    assert entry.timestamp.startswith("2026-11-27T17:39:11")


def test_ids_are_structured_metadata() -> None:
    """A request, a run and a replica are found by them; as labels, each would be a stream."""
    line = build_line("predict", "error", "request", request_id="r1", status=503)
    (entry,) = send([line], "predict", "accident-reco-predict-1")
    assert entry.labels == {"service": "predict", "level": "error"}
    assert entry.metadata == {"request_id": "r1", "container": "accident-reco-predict-1"}
    (entry,) = send([build_line("dagster", "info", "x", run_id=RUN)], "code")
    assert entry.metadata == {"run_id": RUN}


def test_text_after_json_is_neither_glued_nor_lost() -> None:
    """A library prints between two lines of a service, within the three seconds of the multiline stage."""
    first, second = (build_line("predict", "info", word, request_id=word) for word in ("one", "two"))
    entries = send([first, "a library prints this", second, TRACEBACK[0], *TRACEBACK[1:]], "predict")
    assert sorted((entry.line, entry.labels["level"]) for entry in entries) == sorted(
        [(first, "info"), ("a library prints this", "info"), (second, "info"), ("\n".join(TRACEBACK), "error")]
    )


@pytest.mark.parametrize("service", ["predict", "mlflow", "code", "exporter", "prepare"])
def test_traceback_is_one_entry(service: str) -> None:
    """Also as the first output of a container, and of any length."""
    long = [*TRACEBACK[:3], *(f'  File "{n}.py", line {n}, in f' for n in range(300)), *TRACEBACK[3:]]
    (entry,) = send(long, service)
    assert entry.line == "\n".join(long)
    assert entry.labels["level"] == "error"


def test_detail_of_postgres_belongs_to_its_error() -> None:
    """One entry: the error and the statement."""
    at = "2026-11-27 17:39:12.001 UTC [71]"
    lines = [f"{at} ERROR:  syntax error", f"{at} DETAIL:  x", f"{at} STATEMENT:  SELECT", "\tFROM", f"{at} LOG:  y"]
    error, log = send(lines, "postgres")
    assert (error.line, error.labels["level"]) == ("\n".join(lines[:4]), "error")
    assert (log.line, log.labels["level"]) == (lines[4], "info")


def test_replicas_do_not_share_a_block() -> None:
    """Lines of two workers alternate in one stream of Docker; each traceback stays whole."""
    pipeline = Pipeline()
    both = [(name, line) for line in TRACEBACK for name in ("worker-1", "worker-2")]
    found = pipeline.run(entry for name, line in both for entry in _entries([line], "worker", name))
    assert [(entry.metadata["container"], entry.line) for entry in found] == [
        ("worker-1", "\n".join(TRACEBACK)),
        ("worker-2", "\n".join(TRACEBACK)),
    ]


def _entries(lines: list[str], service: str, container: str) -> list[Entry]:
    return [Entry(line, {"service": service, "container": container}) for line in lines]


def test_text_of_runs_is_dropped_and_counted() -> None:
    """The same came as JSON; what a library prints below it is not dropped with it."""
    pipeline = Pipeline()
    twin = build_line("dagster", "error", "Execution failed.", run_id=RUN, error="ValueError: the rows are wrong")
    lines = [RUN_TEXT, RUN_TEXT, "a library prints this", twin, *RUN_ERROR, *TRACEBACK]
    entries = pipeline.run(_entries(lines, "code", "code-1"))
    assert [entry.line for entry in entries] == [f"{RUN_TEXT}\na library prints this", twin, "\n".join(TRACEBACK)]
    assert pipeline.dropped == {"run_text": 2, "tick": 0}
    assert pipeline.counted == {("code", "error"): 2, ("code", "info"): 1}


def test_ticks_are_dropped_and_events_of_the_daemon_stay() -> None:
    """Ticks are most of the daemon's lines; a failing sensor, a launched run and a lost run are not ticks."""
    ticks = [
        "Checking for new runs for sensor: new_data",
        "Checking for new runs for schedule: movies_drift",
        "Sensor new_data skipped: movies: no champion yet",
        "Priority sorting and checking tag concurrency limits for queued runs.",
    ]
    events = [
        "Sensor daemon caught an error for sensor new_data",
        "Launching run for sensor movies_training_requests",
        "Completed launch of run 1 for sensor movies_training_requests",
        "Launched 1 runs.",
        "Daemon threads shut down.",
    ]
    lines = [json.dumps({"event": event, "level": "info", "timestamp": "t"}) for event in [*ticks, *events]]
    assert [entry.json()["event"] for entry in send(lines, "daemon")] == events


def test_failing_sensor_arrives_with_its_reason() -> None:
    """As the daemon writes it: the error is in its own field."""
    failed = {
        "event": "Sensor daemon caught an error for sensor new_data",
        "exc_info": ["<class 'DagsterUserCodeProcessError'>", "SensorExecutionError … RuntimeError: warehouse away"],
        "logger": "dagster.daemon.SensorDaemon",
        "level": "error",
        "timestamp": "2026-11-27T17:40:44.101826Z",
    }
    (entry,) = send([json.dumps(failed)], "daemon")
    assert (entry.labels["level"], entry.timestamp) == ("error", failed["timestamp"])
    assert "warehouse away" in entry.line


def test_alloys_components_fit_together() -> None:
    """Every referenced component is declared; what Prometheus counts has the name that the alerts read."""
    declared = {f"{block.name}.{block.label}": block for block in parse(ALLOY) if block.label}
    assert len(declared) == 5
    named = re.findall(r"= \[?((?:discovery|loki)\.[a-z_.]+\.\w+)\.(?:targets|output|receiver)", ALLOY)
    assert set(named) == set(declared) - {"loki.source.docker.containers"}
    (stage,) = [block for block in declared["loki.process.lines"].blocks if block.name == "stage.metrics"]
    (counter,) = stage.blocks
    rules = (DEPLOY / "prometheus/rules/alerts.yml").read_text()
    assert f"{counter.attributes['prefix']}{counter.attributes['name']}" in rules


def test_every_service_of_compose_is_collected() -> None:
    """Each has the label that discovery filters by, and a log driver that can be read."""
    services = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())["services"]
    (filtered,) = re.findall(r'values = \["(\S+)=(\S+)"\]', ALLOY)
    for name, service in services.items():
        assert service["labels"][filtered[0]] == filtered[1], name
        assert service["logging"]["driver"] == "json-file", name
