"""Measures the predict service as a process: start, memory, latency of one record, and what the prediction log costs.

`python -m accident_reco_tests.bench.predict [--home DIR]`: without a home that has a champion, a model of production
size is fitted on random rows. Authentication is on, as it is by default. Loopback only, bounded, a few clients. The log
is measured on SQLite and on a PostgreSQL of its own, with a service that logs and one that does not in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from accident_reco.launch.postgres_server import start_postgres
from accident_reco.launch.processes import Children
from accident_reco.settings import Settings
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.real_accidents import real_bundle
from accident_reco_tests.support.toy import promote
from serving.auth.bootstrap import ensure_admin
from serving.auth.issuing import Issuer
from serving.auth.keys import KeyRing
from serving.common.identity import SCOPES
from serving.predict.prediction_log import LINGER_SECONDS

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
        """Processor time that the process's threads have used, to the nanosecond."""
        threads = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9

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


def latencies(server: Server, body: object, n: int, warm: int = 200, path: str = "/predict/accidents") -> list[float]:
    """Milliseconds of `n` requests, one after the other on one connection."""
    request, times = server.request(body, path), []
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(n + warm):
            started = time.perf_counter()
            exchange(connection, request)
            if i >= warm:
                times.append((time.perf_counter() - started) * 1000)
    return times


def throughput(server: Server, body: object, seconds: float = 0.5, clients: int = 8) -> tuple[float, float]:
    """Requests a second of some connections at once, and milliseconds of processor time that each took the service."""
    before = server.cpu_seconds
    request, counts = server.request(body), [0] * clients
    until = time.perf_counter() + seconds

    def client(number: int) -> None:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            while time.perf_counter() < until:
                exchange(connection, request)
                counts[number] += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # What the log still holds is work of this turn.
    time.sleep(LINGER_SECONDS + 0.2)
    return sum(counts) / seconds, (server.cpu_seconds - before) * 1000 / sum(counts)


def cost_of_the_log(logged: Server, bare: Server, rounds: int) -> str:
    """Both services in turns, so that whatever else the machine does hits both alike; medians over the rounds."""
    body = {"records": [RECORD]}
    pairs = []
    for number in range(rounds):
        first, second = (logged, bare) if number % 2 else (bare, logged)
        turn = {first: throughput(first, body), second: throughput(second, body)}
        pairs.append((*turn[logged], *turn[bare]))
    rate, cpu, bare_rate, bare_cpu = (statistics.median(pair[i] for pair in pairs) for i in range(4))
    more_cpu = statistics.median(pair[1] / pair[3] for pair in pairs) - 1
    fewer = 1 - statistics.median(pair[0] / pair[2] for pair in pairs)
    return (
        f"{rate:.0f}/s logged, {bare_rate:.0f}/s without; processor time {cpu:.3f} and {bare_cpu:.3f} ms a request; "
        f"logging costs {more_cpu:.1%} of processor time, {fewer:.1%} of throughput"
    )


@contextmanager
def running(home: Path, environ: Mapping[str, str] | None = None, **settings: str) -> Iterator[Server]:
    """The service as a process of its own, on a free port, with a token that it accepts.

    Args:
        environ: variables that are no settings of ours.
    """
    made = Settings.load(home=home)
    ring = KeyRing(made.keys)
    token = Issuer(made, Warehouse(made.database), ring).sign_access_token("bench", frozenset(SCOPES))
    cache = home / "cache" / "jwks.json"
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_bytes(ring.jwks())
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = os.environ | {
        "ACCIDENT_RECO_HOME": str(home),
        "ACCIDENT_RECO_PREDICT_PORT": str(port),
        # None: the keys are in the cache, and an auth service of this machine has others.
        "ACCIDENT_RECO_INTERNAL_AUTH_URL": "http://127.0.0.1:9",
        "ACCIDENT_RECO_RATE_PER_SECOND": "1000000",
        "ACCIDENT_RECO_RATE_BURST": "1000000",
        **(environ or {}),
        **{f"ACCIDENT_RECO_{name.upper()}": value for name, value in settings.items()},
    }
    started = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([sys.executable, "-m", "serving.predict"], env=environment, stdout=log, stderr=log)
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


def prepare(home: Path) -> None:
    """A migrated home with keys and a champion of production size."""
    settings = Settings.load(home=home)
    Warehouse(settings.database).upgrade()
    ensure_admin(settings)
    promote(home, real_bundle(rounds=500, rows=20_000))


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """URL of a migrated warehouse on a PostgreSQL that ends with the block."""
    # PostgreSQL does not run as root, and whom it runs as must reach its folder.
    folder.chmod(0o755)
    (folder / "logs").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
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


def quantiles(times: list[float]) -> str:
    """p50, p95, p99 in words."""
    cuts = statistics.quantiles(times, n=100)
    return f"p50 {statistics.median(times):.2f} ms, p95 {cuts[94]:.2f} ms, p99 {cuts[98]:.2f} ms"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="a home with a champion; it is copied, not written")
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=24, help="turns of each side, of half a second")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        if arguments.home:
            shutil.copytree(arguments.home, home, ignore=shutil.ignore_patterns("dagster", "logs", "mlruns"))
        else:
            prepare(home)
        with running(home) as server:
            print(f"ready in {server.ready_seconds:.2f} s, {server.rss_mb:.0f} MB resident")
            print("one record     ", quantiles(latencies(server, {"records": [RECORD]}, arguments.requests)))
            explained = latencies(server, {"records": [RECORD]}, 500, path="/predict/accidents?explain=true")
            print("with its reasons", quantiles(explained))
            print("one accident   ", quantiles(latencies(server, {"accidents": [ACCIDENT]}, arguments.requests)))
            many = latencies(server, {"records": [RECORD] * 1000}, 30, warm=3)
            print("1,000 records  ", quantiles(many))
            with running(home, log_predictions="false") as bare:
                print("log in SQLite  ", cost_of_the_log(server, bare, arguments.rounds))
            print(f"after load      {server.rss_mb:.0f} MB resident")
        with (
            postgres(Path(folder)) as url,
            running(home, database_url=url) as server,
            running(home, database_url=url, log_predictions="false") as bare,
        ):
            print("log in Postgres", cost_of_the_log(server, bare, arguments.rounds))


if __name__ == "__main__":
    main()
