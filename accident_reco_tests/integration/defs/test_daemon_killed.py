"""A real daemon that is killed repeatedly during its ticks: one request and one run per drift episode."""

import os
import signal
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from accident_reco.defs.drift_report import report_key
from accident_reco.defs.tags import REQUEST_TAG
from accident_reco.launch.programs import script
from accident_reco.storage import drift_reports, retrain_decisions, work_requests
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.drift_rows import build_report_row
from accident_reco_tests.support.running import ROOT

SECONDS = 240.0


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    dagster_home = tmp_path / "dagster"
    dagster_home.mkdir()
    (dagster_home / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ACCIDENT_RECO_", "DAGSTER_"))}
    return clean | {
        "ACCIDENT_RECO_HOME": str(tmp_path),
        "ACCIDENT_RECO_LOOP_SECONDS": "1",
        "ACCIDENT_RECO_TRIGGER_SECONDS": "1",
        "DAGSTER_HOME": str(dagster_home),
    }


def store_drift_report(warehouse: Warehouse, instance: dg.DagsterInstance, minutes: float) -> None:
    """Store a report with drift as the asset does: a row and a materialization."""
    row = build_report_row(computed_at=datetime.now(UTC) + timedelta(minutes=minutes))
    drift_reports.save_report(warehouse, row)
    instance.report_runless_asset_event(
        dg.AssetMaterialization(report_key("accidents"), metadata={"report_id": str(row["id"])})
    )


class Daemon:
    """`dagster-daemon run` in a process group of its own; `lines` is its output."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [script("dagster-daemon"), "run", "-m", "accident_reco_tests.support.loop_location"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line)

    def until(self, condition) -> None:
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert self.process.poll() is None, "".join(self.lines[-30:])
            assert time.monotonic() < deadline, "".join(self.lines[-30:])
            threading.Event().wait(0.02)

    def kill(self) -> None:
        """SIGKILL to the daemon and its child processes."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join(10)
        assert self.process.stdout
        self.process.stdout.close()


@pytest.mark.timeout(900)
def test_one_run_per_episode_across_killed_daemons(environment, tmp_path) -> None:
    """Killed when it evaluates the drift sensor, then when it evaluates the request sensor, then left running."""
    warehouse = Warehouse(f"sqlite:///{tmp_path / 'warehouse.db'}")
    warehouse.upgrade()
    dagster_home = environment["DAGSTER_HOME"]
    with dg.DagsterInstance.from_config(dagster_home) as instance:
        instance.upgrade()
        for minutes in (-3, -2, -1):
            store_drift_report(warehouse, instance, minutes)

        def runs() -> list[dg.DagsterRun]:
            return [run for run in instance.get_runs() if REQUEST_TAG in run.tags]

        for sensor in ("drift_reports", "accidents_training_requests"):
            daemon = Daemon(environment)
            try:
                daemon.until(lambda d=daemon, name=sensor: any(name in line for line in d.lines))
            finally:
                daemon.kill()
        daemon = Daemon(environment)
        try:
            daemon.until(lambda: any(run.status == dg.DagsterRunStatus.SUCCESS for run in runs()))
            count = sum("accidents_training_requests" in line for line in daemon.lines)
            # Three more ticks after the run's end: no further request.
            daemon.until(
                lambda: (
                    sum("accidents_training_requests" in line for line in daemon.lines) >= count + 3
                    and work_requests.open_training(warehouse, "accidents") is None
                )
            )
        finally:
            daemon.kill()
        assert len(runs()) == 1
    decided = [(row["action"], row["rule"]) for row in reversed(retrain_decisions.decisions(warehouse, "accidents"))]
    assert decided[:2] == [("wait", "hysteresis"), ("train", "trigger")]
    assert sum(action == "train" for action, _ in decided) == 1
    assert len(decided) == 3
    warehouse.close()
