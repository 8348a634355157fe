"""Lets the steps of a run be forks of the process that the run is a fork of. Imports nothing of Dagster."""

from __future__ import annotations

import os
from multiprocessing import forkserver
from typing import Any


def share_forkserver() -> None:
    """Let this process fork its children from the server that it is a fork of itself; without one, change nothing.

    Python documents that a child reuses its parent's server, and starts another one nevertheless, because the server is
    not the child's own child (as of 3.13). It would import everything again: three to five seconds per run.
    """
    server: Any = forkserver._forkserver
    if server.get_inherited_fds() is None or not server._forkserver_address or "ensure_running" in vars(server):
        return
    parent, start = os.getppid(), server.ensure_running

    def ensure_running() -> None:
        if os.getppid() != parent:  # it is gone: start another one
            start()

    server.ensure_running = ensure_running
