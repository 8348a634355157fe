"""The closed loop of a model on a running platform, as a client feeds and observes it.

Over HTTP, by the platform's own commands, and by its tables where no endpoint tells. Nothing here decides anything.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from accident_reco.contract import DemoScenario
from accident_reco.launch.processes import LaunchError
from accident_reco.settings import Settings
from accident_reco.storage.promotions import promotion_history
from accident_reco.storage.warehouse import Warehouse
from accident_reco.storage.work_requests import OPEN, work_request

TRAIN_SECONDS = 900.0
SOON_SECONDS = 120.0


class Loop:
    """Traffic in, reports, decisions, champion and gauges out.

    Args:
        model: its name.
        scenario: its traffic.
        settings: of the platform.
        environ: variables under which its commands run.
        alive: raises LaunchError when a process of the platform has ended; asked while waiting.
        say: told what happens.
    """

    def __init__(
        self,
        model: str,
        scenario: DemoScenario,
        settings: Settings,
        environ: Mapping[str, str],
        alive: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        self.model = model
        self.scenario = scenario
        self.settings = settings
        self.environ = environ
        self.alive = alive
        self.say = say
        self.predict = httpx.Client(base_url=f"http://127.0.0.1:{settings.predict_port}", timeout=60)
        self.drift = httpx.Client(base_url=f"http://127.0.0.1:{settings.drift_port}", timeout=60)

    def close(self) -> None:
        """Give the connections back."""
        self.predict.close()
        self.drift.close()

    def job(self, name: str, partition: str | None = None) -> None:
        """Run a job of the platform to its end. Raises LaunchError when it fails."""
        command = [sys.executable, "-m", "dagster", "job", "execute", "-m", "accident_reco.definitions", "-j", name]
        if partition is not None:
            command += ["--tags", f'{{"dagster/partition": "{partition}"}}']
        if name.startswith("train"):
            together = self.settings.home / "in-one-process.yaml"
            together.write_text("execution: {config: {in_process: {}}}\n", encoding="utf-8")
            command += ["-c", str(together)]
        log = self.settings.logs / f"job-{name}.log"
        with log.open("wb") as output:
            done = subprocess.run(command, env=self.environ, stdout=output, stderr=subprocess.STDOUT, check=False)
        if done.returncode != 0:
            raise LaunchError(f"the job {name} failed; see {log}")

    def send(self, year: int, seed: int) -> None:
        """A window's worth of requests about people of a stored year."""
        for body in self.scenario.requests(self.settings, year, self.settings.drift_window_rows, seed):
            self.predict.post(self.scenario.path, json=body).raise_for_status()
        self.wait(
            lambda: self.gauge(self.predict, "prediction_log_queue_rows") == 0, SOON_SECONDS, "the requests are logged"
        )

    def report(self) -> dict[str, Any]:
        """Judge the window as the schedule would; the report as the drift service tells it."""
        self.job(f"report_{self.model}_drift")
        answer = self.drift.get(f"/monitoring/drift/{self.model}")
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        self.say(f"    report {found['id'][:8]}: {found['status']}: {found['reason']}")
        return found

    def champion(self) -> str:
        """The version that the predict API answers with."""
        answer = self.predict.post(self.scenario.path, json=self.scenario.probe)
        answer.raise_for_status()
        return str(answer.json()["version"])

    def decisions(self) -> list[dict[str, Any]]:
        """What the retrain policy decided, oldest first."""
        answer = self.drift.get(f"/monitoring/drift/{self.model}/history")
        answer.raise_for_status()
        return list(reversed(answer.json()["decisions"]))

    def ended(self, request_id: str) -> str | None:
        """How a training request ended; None while it is open."""
        warehouse = Warehouse(self.settings.database)
        try:
            request = work_request(warehouse, request_id)
        finally:
            warehouse.close()
        return None if request is None or request["status"] in OPEN else str(request["status"])

    def judged(self) -> dict[str, Any]:
        """The newest entry of the promotion audit: candidate, whether it serves, the gate's reason and numbers."""
        warehouse = Warehouse(self.settings.database)
        try:
            return promotion_history(warehouse, self.model, limit=1)[0]
        finally:
            warehouse.close()

    def ingested(self, period: int) -> bool:
        """Whether the platform has ingested a period."""
        return self.scenario.is_ingested(self.settings, period)

    def share(self) -> float:
        """The gauge that alerts and dashboards look at."""
        return self.gauge(self.drift, f'drift_share{{model="{self.model}"}}')

    def gauge(self, service: httpx.Client, name: str) -> float:
        """A sample of a service's metrics; NaN when it is not there."""
        for line in service.get("/metrics").text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.rsplit(" ", 1)[1])
        return float("nan")

    def wait(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Until it is so. Raises LaunchError when it does not come to it, or when a process ends."""
        deadline = time.monotonic() + seconds
        while not condition():
            self.alive()
            if time.monotonic() > deadline:
                raise LaunchError(f"after {seconds:.0f} s it still is not so that {what}; see {self.settings.logs}")
            time.sleep(0.5)
