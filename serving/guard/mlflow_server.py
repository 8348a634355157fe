"""MLflow's tracking server behind the guard: an HTTP protocol for its uvicorn, which MLflow starts itself.

Used as `mlflow server --uvicorn-opts "--http serving.guard.mlflow_server:GuardedProtocol --ws none"`: around
whichever app MLflow serves, in its process, so that no port bypasses the guard.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from accident_reco.settings import Settings
from serving.guard.app import PageGuard, build_page_guard


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with the guard around the app."""

    def __init__(self, config: Any, *arguments: Any, **named: Any) -> None:
        super().__init__(config, *arguments, **named)
        self.app = _guard(self.app)


@cache
def _guard(app: Any) -> PageGuard:
    """The guarded app. With a login, processes of the platform send MLflow's own `MLFLOW_TRACKING_TOKEN`."""
    return build_page_guard(app, Settings.load(), "mlflow", os.environ.get("MLFLOW_TRACKING_TOKEN", ""))
