"""Starts the platform as a person would, `make up` in a terminal, and reads its screen."""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIRST_PORT, PORTS = 12_000, 10_000  # the S3 store uses the port 10,000 above its own, too
SERVICES = ("DAGSTER", "AUTH", "PREDICT", "DRIFT", "CONSOLE", "MLFLOW")
SMALL = {
    "ACCIDENT_RECO_ACCIDENTS_SAMPLE_YEARS": "2023-2024",
    "ACCIDENT_RECO_ACCIDENTS_SAMPLE_PEOPLE": "2000",
    "ACCIDENT_RECO_ACCIDENTS_FOREST_TREES": "20",
    "ACCIDENT_RECO_ACCIDENTS_BOOSTING_ROUNDS": "40",
    "ACCIDENT_RECO_MOVIES_SAMPLE_RATINGS": "6000",
}
"""Settings that keep a first start and its trainings short."""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, all different.

    Not from the range that the system assigns: a platform listens a minute later, and another test's program may have
    been assigned the port by then.
    """
    found: set[int] = set()
    while len(found) < count:
        port = FIRST_PORT + secrets.randbelow(PORTS)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            found.add(port)
    return list(found)


def environment(home: Path, **settings: str) -> dict[str, str]:
    """A home of its own, free ports, and none of the caller's settings."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("ACCIDENT_RECO_", "MLFLOW_", "DAGSTER_"))}
    ports = dict(zip(SERVICES, map(str, free_ports(len(SERVICES))), strict=True))
    ours = {"ACCIDENT_RECO_HOME": str(home)} | {f"ACCIDENT_RECO_{name}_PORT": port for name, port in ports.items()}
    return clean | SMALL | ours | settings


class Running:
    """`make up`, or another target or command, under way. `screen` is what it printed."""

    def __init__(
        self,
        env: Mapping[str, str],
        *arguments: str,
        target: str = "up",
        command: Sequence[str] = (),
        folder: Path = ROOT,
    ) -> None:
        self.env = dict(env)
        self.screen = ""
        self._more = threading.Condition()
        self.process = subprocess.Popen(
            [*(command or ("make", "--no-print-directory", target)), *arguments],
            cwd=folder,
            env=self.env,
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
            with self._more:
                self.screen += line
                self._more.notify_all()
        with self._more:
            self._more.notify_all()

    def await_text(self, pattern: str, seconds: float) -> re.Match[str]:
        """Wait until the screen shows it; fails at once when the process ends without."""
        deadline = time.monotonic() + seconds
        with self._more:
            while not (found := re.search(pattern, self.screen)):
                left = deadline - time.monotonic()
                over = not self._reader.is_alive()
                assert left > 0, f"{pattern!r} not shown after {seconds} s:\n{self.screen}"
                assert not over, f"ended without {pattern!r}:\n{self.screen}"
                self._more.wait(min(left, 1.0))
        return found

    def url(self, service: str) -> str:
        """Base URL of a service."""
        return f"http://127.0.0.1:{self.env[f'ACCIDENT_RECO_{service.upper()}_PORT']}"

    def stop(self, number: int = signal.SIGTERM, seconds: float = 12.0) -> float:
        """Signal it as a terminal would and give the seconds it took to end."""
        started = time.monotonic()
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)
            self.process.wait(seconds)
        self._reader.join(5)
        assert self.process.stdout
        self.process.stdout.close()
        return time.monotonic() - started
