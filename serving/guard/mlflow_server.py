"""MLflow's tracking server behind the guard, in the server's process, so that no port bypasses the guard.

`python -m serving.guard.mlflow_server` shows the embedded tracking database: one process instead of the two of
`mlflow server`, half the memory and half the time to start. Other stores are served by MLflow's own command with
`--uvicorn-opts "--http serving.guard.mlflow_server:GuardedProtocol --ws none"`.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from accident_reco.lifecycle.tracking_home import ARTIFACTS
from accident_reco.settings import Settings, SettingsError
from serving.guard.app import PageGuard, build_page_guard

STOP_SECONDS: Final = 3
"""Limit on requests in progress when the server is stopped."""


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with the guard around the app."""

    def __init__(self, config: Any, *arguments: Any, **named: Any) -> None:
        super().__init__(config, *arguments, **named)
        self.app = _guard(self.app)


@cache
def _guard(app: Any) -> PageGuard:
    """The guarded app. With a login, processes of the platform send MLflow's own `MLFLOW_TRACKING_TOKEN`."""
    return build_page_guard(app, Settings.load(), "mlflow", os.environ.get("MLFLOW_TRACKING_TOKEN", ""))


def server_environment(settings: Settings) -> dict[str, str]:
    """Variables from which MLflow's app reads its stores: those that `mlflow server` sets for its own."""
    return {
        "_MLFLOW_SERVER_FILE_STORE": settings.tracking_uri,
        # For experiments of people: those of trainings name their folder, and need no server.
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": (settings.home / ARTIFACTS).as_uri(),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        # The guard checks the host, by the same setting as for Dagster's pages.
        "MLFLOW_SERVER_ALLOWED_HOSTS": "*",
        # Nothing uses MLflow's own jobs: eight processes and two gigabytes less.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }


def main() -> int:
    """Serve the tracking database of the home until a signal. Returns 2 for a wrong setting."""
    try:
        settings = Settings.load()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    os.environ.update(server_environment(settings))
    uvicorn.run(
        "mlflow.server.fastapi_app:app",
        host=settings.host,
        port=settings.mlflow_port,
        http="serving.guard.mlflow_server:GuardedProtocol",
        ws="none",
        log_level=settings.log_level.lower(),
        access_log=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
