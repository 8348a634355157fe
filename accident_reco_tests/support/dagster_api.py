"""What Dagster's web server shows, read by GraphQL as its pages do."""

from __future__ import annotations

from typing import Any

import httpx

from accident_reco_tests.support.client import await_value

_REPOSITORIES = """{ repositoriesOrError { ... on RepositoryConnection { nodes {
  jobs { name } schedules { name } sensors { name sensorState { status } }
  assetNodes { assetKey { path } groupName description assetMaterializations(limit: 1) { runId } }
} } } }"""

_LAUNCH = """mutation($parameters: ExecutionParams!) {
  launchRun(executionParams: $parameters) { __typename ... on LaunchRunSuccess { run { runId } } }
}"""


def launch(url: str, location: str, job: str) -> str:
    """Launch a job of a code location, once it is loaded, as the launchpad in Dagster's UI; returns the run id."""
    selector = {"repositoryLocationName": location, "repositoryName": "__repository__", "jobName": job}
    parameters = {"selector": selector, "runConfigData": {}, "mode": "default"}

    def found() -> dict[str, Any] | None:
        launched = query(url, _LAUNCH, parameters=parameters)["launchRun"]
        return None if launched["__typename"] == "PipelineNotFoundError" else dict(launched)

    launched = await_value(found, 60, f"the job {job} is loaded")
    assert launched["__typename"] == "LaunchRunSuccess", launched
    return str(launched["run"]["runId"])


def run_status(url: str, run_id: str) -> str:
    """Status of a run, such as STARTED or SUCCESS."""
    found = query(url, "query($id: ID!) {runOrError(runId: $id) {... on Run {status}}}", id=run_id)
    return str(found["runOrError"]["status"])


def query(url: str, text: str, **variables: Any) -> dict[str, Any]:
    """The data of a GraphQL answer."""
    answer = httpx.post(f"{url}/graphql", json={"query": text, "variables": variables}, timeout=30)
    answer.raise_for_status()
    document = answer.json()
    assert "errors" not in document, document["errors"]
    return dict(document["data"])


def runs(url: str) -> list[dict[str, Any]]:
    """Job, code location (None without one) and tags of every run, newest first."""
    text = """{ runsOrError { ... on Runs { results {
      jobName repositoryOrigin { repositoryLocationName } tags { key value } } } } }"""
    return [
        {
            "job": run["jobName"],
            "location": (run["repositoryOrigin"] or {}).get("repositoryLocationName"),
            "tags": {tag["key"]: tag["value"] for tag in run["tags"]},
        }
        for run in query(url, text)["runsOrError"]["results"]
    ]


def repository(url: str) -> dict[str, Any]:
    """Jobs, schedules, sensors and assets of the one code location, by name or key, once it is loaded."""

    def loaded() -> dict[str, Any] | None:
        nodes = query(url, _REPOSITORIES)["repositoriesOrError"]["nodes"]
        return nodes[0] if nodes else None

    found = await_value(loaded, 60, "the code location is loaded")
    return {
        "jobs": {job["name"] for job in found["jobs"]},
        "schedules": {schedule["name"] for schedule in found["schedules"]},
        "sensors": {sensor["name"]: sensor["sensorState"]["status"] for sensor in found["sensors"]},
        "assets": {"/".join(asset["assetKey"]["path"]): asset for asset in found["assetNodes"]},
    }
