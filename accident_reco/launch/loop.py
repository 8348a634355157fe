"""Client of a running platform's closed loop: sends traffic, runs jobs, reads reports, decisions and gauges.

It uses HTTP and the platform's own commands, and reads tables where no endpoint exists. It decides nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import httpx

from accident_reco.contract import DemoScenario
from accident_reco.defs.tags import LAUNCHER_TAG, URGENT
from accident_reco.launch.processes import LaunchError
from accident_reco.settings import Settings
from accident_reco.storage.lifecycle import promotion_history
from accident_reco.storage.warehouse import Warehouse
from accident_reco.storage.work_requests import OPEN, work_request

TRAIN_SECONDS = 900.0
"""Limit on a training or an ingestion."""
REACTION_SECONDS = 120.0
"""Limit on a reaction without a training: a decision, a gauge, a log flush."""
_LOCATION: Final = {"repositoryLocationName": "accident_reco", "repositoryName": "__repository__"}
_LAUNCH: Final = """mutation($parameters: ExecutionParams!) {
  launchRun(executionParams: $parameters) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on Error { message }
  }
}"""
_LOADED: Final = "query($in: RepositorySelector!) { repositoryOrError(repositorySelector: $in) { __typename } }"
_STATUS: Final = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
_ENDED: Final = ("SUCCESS", "FAILURE", "CANCELED")


class Loop:
    """A model's closed loop as its client sees it.

    Args:
        model: its name.
        scenario: its traffic by period.
        settings: those of the platform.
        require_alive: raises LaunchError if a process of the platform has ended; called while waiting.
        report_line: prints a line of progress.
    """

    def __init__(
        self,
        model: str,
        scenario: DemoScenario,
        settings: Settings,
        require_alive: Callable[[], None],
        report_line: Callable[[str], None],
    ) -> None:
        self.model = model
        self.scenario = scenario
        self.settings = settings
        self.require_alive = require_alive
        self.report_line = report_line
        self.predict = httpx.Client(base_url=f"http://127.0.0.1:{settings.predict_port}", timeout=60)
        self.drift = httpx.Client(base_url=f"http://127.0.0.1:{settings.drift_port}", timeout=60)
        self.dagster = httpx.Client(base_url=f"http://127.0.0.1:{settings.dagster_port}", timeout=60)

    def close(self) -> None:
        """Close the connections."""
        self.predict.close()
        self.drift.close()
        self.dagster.close()

    def job(self, name: str) -> None:
        """Run a job of the platform to its end, as from Dagster's pages, but at once and not from the queue.

        Raises:
            LaunchError: Dagster did not accept it, or it failed.
        """
        self.wait(self.is_loaded, REACTION_SECONDS, "Dagster loaded the platform")
        tags = {LAUNCHER_TAG: "demonstration", **URGENT}
        parameters = {
            "selector": {**_LOCATION, "jobName": name},
            "runConfigData": {},
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        launched = self.graphql(_LAUNCH, parameters=parameters)["launchRun"]
        if launched["__typename"] != "LaunchRunSuccess":
            raise LaunchError(f"the job {name} was not started: {launched}")
        run_id = launched["run"]["runId"]
        self.wait(lambda: self.run_status(run_id) in _ENDED, TRAIN_SECONDS, f"the job {name} ended")
        if self.run_status(run_id) != "SUCCESS":
            raise LaunchError(f"the job {name} failed: run {run_id}; see {self.settings.logs}")

    def is_loaded(self) -> bool:
        """Whether Dagster's web server knows the platform's jobs: a code server takes seconds to start."""
        return bool(self.graphql(_LOADED, **{"in": _LOCATION})["repositoryOrError"]["__typename"] == "Repository")

    def run_status(self, run_id: str) -> str:
        """Status of a run, such as STARTED or SUCCESS."""
        return str(self.graphql(_STATUS, id=run_id)["runOrError"]["status"])

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        """Data of a query to Dagster's web server, as its pages send it.

        Raises:
            LaunchError: it is answered with errors.
        """
        answer = self.dagster.post("/graphql", json={"query": query, "variables": variables})
        answer.raise_for_status()
        document: dict[str, Any] = answer.json()
        if "errors" in document:
            raise LaunchError("; ".join(str(error["message"]) for error in document["errors"]))
        data: dict[str, Any] = document["data"]
        return data

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
            time.sleep(0.2)
