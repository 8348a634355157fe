"""Measures what settings of glibc's allocator do to the predict service: resident memory, throughput, processor time.

`python -m accident_reco_tests.bench.memory [--rounds N]`: one service per variant, side by side, takes the same mixed
requests (one record, explanations, 1,000 records, movies) in turns, so that whatever else the machine does hits all
alike. Loopback only, bounded, four clients.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import statistics
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from accident_reco_tests.bench.predict import RECORD, Server, exchange, prepare, running
from accident_reco_tests.support.real_movies import movie_bundle
from accident_reco_tests.support.toy import promote
from serving.predict.prediction_log import LINGER_SECONDS

KIB = 1024
CLIENTS = 4


def thresholds(size: int, arenas: int | None = None) -> dict[str, str]:
    """Fixed thresholds for mapping and trimming, in bytes; glibc would otherwise raise both up to 32 and 64 MiB."""
    stated = {"MALLOC_MMAP_THRESHOLD_": str(size), "MALLOC_TRIM_THRESHOLD_": str(size)}
    return stated | ({"MALLOC_ARENA_MAX": str(arenas)} if arenas else {})


VARIANTS: dict[str, dict[str, str]] = {
    "default": {},
    "one arena": {"MALLOC_ARENA_MAX": "1"},
    "128 KiB": thresholds(128 * KIB),
    "128 KiB, one arena": thresholds(128 * KIB, 1),
    "128 KiB, two arenas": thresholds(128 * KIB, 2),
}


def mixed_requests(server: Server) -> list[bytes]:
    """A client's requests of one turn."""
    single = server.request({"records": [RECORD]})
    explained = [server.request({"records": [RECORD] * n}, "/predict/accidents?explain=true") for n in (5, 100)]
    thousand = server.request({"records": [RECORD] * 1000})
    movies = [server.request({"user_id": user, "count": 5}, "/predict/movies") for user in range(1, 21)]
    return [*[single] * 60, *explained, *movies, thousand, thousand]


def turn(server: Server) -> tuple[float, float, float]:
    """Requests a second, milliseconds of processor time per request, and resident megabytes once the log is written."""
    before, requests = server.cpu_seconds, mixed_requests(server)

    def client() -> None:
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            for request in requests:
                exchange(connection, request)

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    time.sleep(LINGER_SECONDS + 0.3)  # what the log still holds is work of this turn
    sent = CLIENTS * len(requests)
    return sent / seconds, (server.cpu_seconds - before) * 1000 / sent, server.rss_mb


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    arguments = parser.parse_args()
    chosen = ["default", *(name for name in arguments.variants if name != "default")]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        home = Path(folder) / "home"
        prepare(home)
        promote(home, movie_bundle())
        servers: dict[str, Server] = {}
        for number, (name, environ) in enumerate((name, VARIANTS[name]) for name in chosen):
            own = Path(folder) / str(number)
            shutil.copytree(home, own)
            servers[name] = stack.enter_context(running(own, environ={"OMP_WAIT_POLICY": "PASSIVE", **environ}))
        start = {name: server.rss_mb for name, server in servers.items()}
        turns: dict[str, list[tuple[float, float, float]]] = {name: [] for name in servers}
        names = list(servers)
        for number in range(arguments.rounds):
            shift = number % len(names)
            for name in names[shift:] + names[:shift]:
                turns[name].append(turn(servers[name]))
        print(f"{'':<22}{'MB: start':>10}{'median':>8}{'last':>8}{'req/s':>8}{'ratio':>8}{'ms CPU':>8}{'ratio':>8}")
        for name, measured in turns.items():
            rate, cpu, rss = (statistics.median(one[i] for one in measured) for i in range(3))
            pairs = list(zip(measured, turns["default"], strict=True))[1:]
            faster = statistics.median(one[0] / other[0] for one, other in pairs)
            dearer = statistics.median(one[1] / other[1] for one, other in pairs)
            print(
                f"{name:<22}{start[name]:>10.0f}{rss:>8.0f}{measured[-1][2]:>8.0f}"
                f"{rate:>8.0f}{faster:>8.3f}{cpu:>8.3f}{dearer:>8.3f}"
            )


if __name__ == "__main__":
    main()
