"""Runs and sensors under the containers' logging configuration: what Loki receives has the reason, and every id."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from accident_reco.launch.dagster_process import JSON_LOGS
from accident_reco_tests.support.alloy import Entry, Pipeline
from accident_reco_tests.support.images import dockerfile
from accident_reco_tests.support.running import ROOT

LOCATION = '''
import sys
import dagster as dg
from accident_reco.defs.run_logs import sensor_log

REASON = "movies v2: gain below 0.002"

@dg.asset
def gate(context):
    """Logs its reason."""
    context.log.info(REASON)
    context.log.debug("a detail")
    return dg.MaterializeResult(metadata={"reason": REASON})

@dg.asset_check(asset=gate)
def rows():
    """A warning."""
    return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, description="13 of 40 rows lost")

@dg.asset(retry_policy=dg.RetryPolicy(max_retries=1))
def fit():
    """Fails."""
    try:
        1 / 0
    except ZeroDivisionError as error:
        raise ValueError("the rows\\nare wrong") from error

@dg.sensor(job_name="train")
def drift_reports(context):
    """Logs a decision."""
    for number in range(2):
        ids = {"model": "movies"}
        sensor_log(context).info("movies drift r%d: wait, 1 of 3 windows", number, extra={"fields": ids})
    return dg.SkipReason("no new report")

train = dg.define_asset_job("train", [gate], executor_def=dg.in_process_executor)
failing = dg.define_asset_job("failing", [fit])
defs = dg.Definitions(assets=[gate, fit], asset_checks=[rows], jobs=[train, failing], sensors=[drift_reports])

if __name__ == "__main__":
    instance = dg.DagsterInstance.get()
    repository = defs.get_repository_def()
    for name in ("train", "failing"):
        dg.execute_job(dg.reconstructable(globals()[f"build_{name}"]), instance, raise_on_error=False)
    with dg.build_sensor_context(instance=instance, repository_def=repository, sensor_name="drift_reports") as context:
        drift_reports.evaluate_tick(context)

'''
BUILDERS = '''
def build_train():
    """For `reconstructable`: steps are executed in processes of their own."""
    return defs.resolve_job_def("train")

def build_failing():
    """The same."""
    return defs.resolve_job_def("failing")

'''


@pytest.fixture(scope="module")
def received(tmp_path_factory: pytest.TempPathFactory) -> list[Entry]:
    """What Loki receives of a run that succeeds, a run that fails, and a sensor, of processes as in a container."""
    home = tmp_path_factory.mktemp("run-logs")
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n" + JSON_LOGS)
    main = LOCATION.index('if __name__ == "__main__"')
    (home / "location.py").write_text(LOCATION[:main] + BUILDERS + LOCATION[main:])
    (warnings,) = re.findall(r'PYTHONWARNINGS="([^"]+)"', dockerfile())
    environ = {
        "DAGSTER_HOME": str(home),
        "PYTHONPATH": f"{ROOT}:{home}",
        "PYTHONWARNINGS": warnings,
        "PATH": "/usr/bin",
    }
    done = subprocess.run(
        [sys.executable, str(home / "location.py")],
        cwd=home,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    return Pipeline().run(Entry(line, {"service": "code", "container": "code-1"}) for line in lines)


def of_job(received: list[Entry], job: str) -> list[dict[str, object]]:
    return [entry.json() for entry in received if entry.line.startswith("{") and entry.json().get("job") == job]


def test_every_entry_is_json_with_service_level_and_time(received: list[Entry]) -> None:
    """No text is left, and no warning of Dagster's about this configuration."""
    assert [entry.line for entry in received if not entry.line.startswith("{")] == []
    for entry in received:
        assert set(entry.labels) == {"service", "level"}
        assert entry.timestamp


def test_successful_run_leaves_its_key_events(received: list[Entry]) -> None:
    """Start, decision, materialization with its reason, check, end: not silence, and no line per debug event."""
    lines = of_job(received, "train")
    kinds = [line.get("kind") for line in lines]
    assert kinds[0] == "PIPELINE_START"
    assert kinds[-1] == "PIPELINE_SUCCESS"
    assert len({line["run_id"] for line in lines}) == 1
    assert [line["event"] for line in lines].count("movies v2: gain below 0.002") == 1
    assert "a detail" not in [line["event"] for line in lines]
    (made,) = [line for line in lines if line.get("kind") == "ASSET_MATERIALIZATION"]
    assert (made["asset"], made["reason"], made["step"]) == ("gate", "movies v2: gain below 0.002", "gate")
    (check,) = [line for line in lines if line.get("kind") == "ASSET_CHECK_EVALUATION"]
    assert (check["asset"], check["check"], check["passed"]) == ("gate", "rows", False)
    assert (check["level"], check["reason"]) == ("warning", "13 of 40 rows lost")
    assert len(lines) < 10


def test_failed_run_leaves_error_step_and_trace(received: list[Entry]) -> None:
    """One line for the step, with the error that the code raised and its whole chain; a retry is no error."""
    lines = of_job(received, "failing")
    (failed,) = [line for line in lines if line.get("kind") == "STEP_FAILURE"]
    assert (failed["level"], failed["step"], failed["error"]) == ("error", "fit", "ValueError: the rows are wrong")
    assert 'raise ValueError("the rows' in str(failed["exception"])
    assert "ZeroDivisionError" in str(failed["exception"])
    (retried,) = [line for line in lines if line.get("kind") == "STEP_UP_FOR_RETRY"]
    assert retried["error"] == "ValueError: the rows are wrong"
    (ended,) = [line for line in lines if line.get("kind") == "PIPELINE_FAILURE"]
    assert ended["level"] == "error"
    entry = next(entry for entry in received if entry.line.startswith("{") and entry.json() == failed)
    assert entry.labels["level"] == "error"
    assert entry.metadata["run_id"] == failed["run_id"]


def test_decision_of_a_sensor_is_json_word_for_word(received: list[Entry]) -> None:
    """Once, at every call, with the ids that it names."""
    lines = [entry.json() for entry in received if entry.json().get("model") == "movies"]
    assert [line["event"] for line in lines] == [f"movies drift r{number}: wait, 1 of 3 windows" for number in (0, 1)]
    assert {line["level"] for line in lines} == {"info"}


def test_sensor_writes_text_where_runs_do(tmp_path: Path) -> None:
    """An embedded installation is configured without JSON: the handlers stay Dagster's own."""
    from accident_reco.defs.run_logs import sensor_log

    with (
        dg.DagsterInstance.local_temp(str(tmp_path)) as instance,
        dg.build_sensor_context(instance=instance) as context,
    ):
        before = list(context.log.handlers)
        assert sensor_log(context).handlers == before


def test_kubernetes_logs_as_compose() -> None:
    """The chart's values and dagster.yaml of a container have the same handlers."""
    values = yaml.safe_load((ROOT / "deploy/kubernetes/dagster-values.yaml").read_text())
    containers = yaml.safe_load(JSON_LOGS)["python_logs"]["dagster_handler_config"]
    assert values["pythonLogs"]["dagsterHandlerConfig"] == containers
