"""Client of a running platform's closed loop: sends traffic, runs jobs, reads reports, decisions and gauges.

It uses HTTP and the platform's own commands, and reads tables where no endpoint exists. It decides nothing.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from accident_reco.contract import DemoScenario
from accident_reco.launch.dagster_servers import workspace_file
from accident_reco.launch.processes import LaunchError
from accident_reco.settings import Settings
from accident_reco.storage.lifecycle import promotion_history
from accident_reco.storage.warehouse import Warehouse
from accident_reco.storage.work_requests import OPEN, work_request

TRAIN_SECONDS = 900.0
"""Limit on a training or an ingestion."""
REACTION_SECONDS = 120.0
"""Limit on a reaction without a training: a decision, a gauge, a log flush."""


class Loop:
    """A model's closed loop as its client sees it.

    Args:
        model: its name.
        scenario: its traffic by period.
        settings: those of the platform.
        environ: environment of its commands.
        require_alive: raises LaunchError if a process of the platform has ended; called while waiting.
        report_line: prints a line of progress.
    """

    def __init__(
        self,
        model: str,
        scenario: DemoScenario,
        settings: Settings,
        environ: Mapping[str, str],
        require_alive: Callable[[], None],
        report_line: Callable[[str], None],
    ) -> None:
        self.model = model
        self.scenario = scenario
        self.settings = settings
        self.environ = environ
        self.require_alive = require_alive
        self.report_line = report_line
        self.predict = httpx.Client(base_url=f"http://127.0.0.1:{settings.predict_port}", timeout=60)
        self.drift = httpx.Client(base_url=f"http://127.0.0.1:{settings.drift_port}", timeout=60)

    def close(self) -> None:
        """Close the connections."""
        self.predict.close()
        self.drift.close()

    def job(self, name: str, partition: str | None = None) -> None:
        """Run a job of the platform to its end.

        Raises:
            LaunchError: the job failed.
        """
        workspace = str(workspace_file(self.settings))
        command = [sys.executable, "-m", "accident_reco.defs.pipeline", "--workspace", workspace, "--job", name]
        if partition is not None:
            command += ["--partition", partition]
        log = self.settings.logs / f"job-{name}.log"
        with log.open("wb") as output:
            done = subprocess.run(command, env=self.environ, stdout=output, stderr=subprocess.STDOUT, check=False)
        if done.returncode != 0:
            raise LaunchError(f"the job {name} failed; see {log}")

    def send(self, year: int, seed: int) -> None:
        """Send one window of requests like a stored year's data; returns once all of them are logged."""
        for body in self.scenario.requests(self.settings, year, self.settings.drift_window_rows, seed):
            self.predict.post(self.scenario.path, json=body).raise_for_status()
        self.wait(
            lambda: self.gauge(self.predict, "prediction_log_queue_rows") == 0,
            REACTION_SECONDS,
            "the requests are logged",
        )

    def report(self) -> dict[str, Any]:
        """Run the drift check on the latest window; returns the report as the drift service returns it."""
        self.job(f"report_{self.model}_drift")
        answer = self.drift.get(f"/monitoring/drift/{self.model}")
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        self.report_line(f"    report {found['id'][:8]}: {found['status']}: {found['reason']}")
        return found

    def champion(self) -> str:
        """The version with which the predict service answers."""
        answer = self.predict.post(self.scenario.path, json=self.scenario.probe)
        answer.raise_for_status()
        return str(answer.json()["version"])

    def decisions(self) -> list[dict[str, Any]]:
        """Decisions of the retrain policy, oldest first."""
        answer = self.drift.get(f"/monitoring/drift/{self.model}/history")
        answer.raise_for_status()
        return list(reversed(answer.json()["decisions"]))

    def request_outcome(self, request_id: str) -> str | None:
        """Final status of a training request; None while it is open."""
        warehouse = Warehouse(self.settings.database)
        try:
            request = work_request(warehouse, request_id)
        finally:
            warehouse.close()
        return None if request is None or request["status"] in OPEN else str(request["status"])

    def latest_promotion_decision(self) -> dict[str, Any]:
        """The newest entry of the promotion audit: candidate, decision, the gate's reason and figures."""
        warehouse = Warehouse(self.settings.database)
        try:
            return promotion_history(warehouse, self.model, limit=1)[0]
        finally:
            warehouse.close()

    def is_ingested(self, period: int) -> bool:
        """Whether the platform has ingested a period."""
        return self.scenario.is_ingested(self.settings, period)

    def drift_share(self) -> float:
        """The gauge `drift_share` of the model, which alerts and dashboards use."""
        return self.gauge(self.drift, f'drift_share{{model="{self.model}"}}')

    def drift_alarm(self) -> float:
        """The gauge `drift_alarm` of the model: 1 where the latest window has drifted, NaN before the first report."""
        return self.gauge(self.drift, f'drift_alarm{{model="{self.model}"}}')

    def gauge(self, service: httpx.Client, name: str) -> float:
        """Value of a sample of a service's metrics; NaN without it."""
        for line in service.get("/metrics").text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.rsplit(" ", 1)[1])
        return float("nan")

    def wait(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait for a condition, which `what` describes.

        Raises:
            LaunchError: it does not hold within `seconds`, or a process has ended.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            self.require_alive()
            if time.monotonic() > deadline:
                raise LaunchError(f"timed out after {seconds:.0f} s; expected: {what}; see {self.settings.logs}")
            time.sleep(0.5)
