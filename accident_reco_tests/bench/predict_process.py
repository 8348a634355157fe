"""The predict service as a process of a measurement: start, token, memory, processor time; PostgreSQL beside it."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from accident_reco.launch.postgres_server import start_postgres
from accident_reco.launch.processes import Children, free_port
from accident_reco.settings import Settings
from accident_reco.storage.warehouse import Warehouse
from serving.auth.issuing import Issuer
from serving.auth.keys import KeyRing
from serving.common.identity import SCOPES

RECORD = {
    "catu": 1,
    "place": 1,
    "sexe": 1,
    "an_nais": 1980,
    "secu1": 1,
    "catv": 7,
    "lum": 1,
    "agg": 1,
    "int": 1,
    "atm": 1,
    "col": 3,
    "catr": 3,
    "circ": 2,
    "vma": 80,
    "an": 2024,
    "mois": 6,
    "jour": 14,
    "hrmn": "17:45",
    "dep": "59",
    "lat": 50.6,
    "long": 3.05,
}
ACCIDENT = {
    "lum": 1,
    "agg": 1,
    "catr": 3,
    "vma": 80,
    "an": 2024,
    "mois": 6,
    "jour": 14,
    "hrmn": "17:45",
    "vehicles": [{"id": "A", "catv": 7}, {"id": "B", "catv": 33}],
    "users": [{"vehicle": "A", "catu": 1, "sexe": 1}, {"vehicle": "A", "catu": 2}, {"vehicle": "B", "catu": 1}],
}


@dataclass(frozen=True)
class Server:
    """A running predict service."""

    port: int
    pid: int
    ready_seconds: float
    token: str

    @property
    def rss_mb(self) -> float:
        """Resident memory of the process."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    @property
    def cpu_seconds(self) -> float:
        """Processor time of the process, with its threads that have ended, to a hundredth."""
        used = psutil.Process(self.pid).cpu_times()
        return float(used.user + used.system)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        os.kill(self.pid, number)

    def request(self, body: object, path: str = "/predict/accidents") -> bytes:
        """A keep-alive POST, ready to be sent."""
        content = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {self.token}\r\ncontent-length: {len(content)}\r\n\r\n"
        )
        return head.encode() + content


def exchange(connection: socket.socket, request: bytes) -> None:
    """Send a request and read its whole answer."""
    connection.sendall(request)
    answer = connection.recv(1 << 16)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), answer[:500]
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    received = len(body)
    while received < length:
        received += len(connection.recv(1 << 16))


@contextmanager
def running(
    home: Path, environ: Mapping[str, str] | None = None, *, module: str = "serving.predict", **settings: str
) -> Iterator[Server]:
    """The service as a process of its own, on a free port, with a token that it accepts.

    Args:
        environ: variables that are no settings of ours.
        module: what runs; another one runs the service within itself.
    """
    made = Settings.load(home=home)
    ring = KeyRing(made.keys)
    token = Issuer(made, Warehouse(made.database), ring).sign_access_token("bench", frozenset(SCOPES))
    cache = home / "cache" / "jwks.json"
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_bytes(ring.jwks())
    port = free_port()
    environment = os.environ | {
        "ACCIDENT_RECO_HOME": str(home),
        "ACCIDENT_RECO_PREDICT_PORT": str(port),
        # Nobody answers there, so that the keys in the cache stay, whatever platform runs on this machine.
        "ACCIDENT_RECO_INTERNAL_AUTH_URL": "http://127.0.0.1:9",
        "ACCIDENT_RECO_RATE_PER_SECOND": "1000000",
        "ACCIDENT_RECO_RATE_BURST": "1000000",
        **(environ or {}),
        **{f"ACCIDENT_RECO_{name.upper()}": value for name, value in settings.items()},
    }
    started = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([sys.executable, "-m", module], env=environment, stdout=log, stderr=log)
        try:
            while not is_ready(port):
                assert process.poll() is None, "the service ended"
                assert time.perf_counter() - started < 30, "the service is not ready"
                time.sleep(0.01)
            yield Server(port, process.pid, time.perf_counter() - started, token)
        finally:
            process.terminate()
            process.wait(timeout=10)


def is_ready(port: int) -> bool:
    """Whether `/readyz` answers 200."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """URL of a migrated warehouse on a PostgreSQL that ends with the block."""
    # PostgreSQL does not run as root, and whom it runs as must reach its folder.
    folder.chmod(0o755)
    (folder / "logs").mkdir()
    port = free_port()
    children, password = Children({}, folder / "logs"), secrets.token_urlsafe(12)
    try:
        children.await_ready({"postgres": start_postgres(children, folder / "postgres", port, password)}, 30)
        url = f"postgresql+psycopg2://postgres:{password}@127.0.0.1:{port}/postgres"
        warehouse = Warehouse(url)
        warehouse.upgrade()
        warehouse.close()
        yield url
    finally:
        children.stop()
