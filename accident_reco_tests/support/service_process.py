"""A service as a process of its own, with settings by environment variables."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from accident_reco.launch.processes import free_port
from accident_reco_tests.support.live import wait_for


def environment(home: Path, **settings: object) -> dict[str, str]:
    """Variables of a process with these settings."""
    names = {f"ACCIDENT_RECO_{name.upper()}": str(value) for name, value in settings.items()}
    return os.environ | {"ACCIDENT_RECO_HOME": str(home)} | names


@contextmanager
def process(
    service: str, home: Path, log: Path, **settings: object
) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    """Run a service on a free port until it is ready; yields the process and a client."""
    port = free_port()
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", f"serving.{service}"],
            stdout=output,
            stderr=output,
            env=environment(home, **{f"{service}_port": port}, **settings),
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=5) as client:

            def answers() -> bool:
                assert child.poll() is None, log.read_text()
                try:
                    return client.get("/readyz").status_code == 200
                except httpx.TransportError:
                    return False

            wait_for(answers, seconds=30)
            yield child, client
    finally:
        child.terminate()
        child.wait(timeout=10)
