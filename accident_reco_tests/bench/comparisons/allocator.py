"""What settings of glibc's allocator do to the predict service: resident memory, throughput, processor time.

One service per variant, side by side, takes the same mixed requests (one record, explanations, 1,000 records, movies)
in turns.
"""

from __future__ import annotations

import shutil
import socket
import threading
import time
from contextlib import ExitStack

from accident_reco_tests.bench.comparison import Options, Row
from accident_reco_tests.bench.comparisons.accident_service import LOGGED_SECONDS, prepare_home
from accident_reco_tests.bench.predict_process import RECORD, Server, exchange, running
from accident_reco_tests.support.real_movies import movie_bundle
from accident_reco_tests.support.toy import promote

KIB = 1024
CLIENTS = 4
DEFAULT = "defaults"


def thresholds(size: int, arenas: int | None = None) -> dict[str, str]:
    """Fixed thresholds for mapping and trimming, in bytes; glibc would otherwise raise both up to 32 and 64 MiB."""
    stated = {"MALLOC_MMAP_THRESHOLD_": str(size), "MALLOC_TRIM_THRESHOLD_": str(size)}
    return stated | ({"MALLOC_ARENA_MAX": str(arenas)} if arenas else {})


VARIANTS: dict[str, dict[str, str]] = {
    DEFAULT: {},
    "thresholds of 128 KiB": thresholds(128 * KIB),
    "thresholds of 128 KiB, one arena": thresholds(128 * KIB, 1),
}


def compare(options: Options) -> list[Row]:
    """Each variant against glibc's defaults. The first round warms up and does not count."""
    home, _ = prepare_home(options)
    promote(home, movie_bundle())
    turns: dict[str, list[tuple[float, float, float]]] = {name: [] for name in VARIANTS}
    with ExitStack() as stack:
        servers: dict[str, Server] = {}
        for number, (name, environ) in enumerate(VARIANTS.items()):
            own = options.folder / f"allocator{number}"
            shutil.copytree(home, own)
            servers[name] = stack.enter_context(running(own, {"OMP_WAIT_POLICY": "PASSIVE", **environ}))
        names = list(servers)
        for number in range(options.rounds + 1):
            shift = number % len(names)
            for name in names[shift:] + names[:shift]:
                options.report(f"round {number + 1} of {options.rounds + 1}: {name}")
                turns[name].append(take_turn(servers[name]))
    rows, peer = [], f"glibc's {DEFAULT}"
    for name in names[1:]:
        rates, cpu, memory = zip(*turns[name][1:], strict=True)
        their_rates, their_cpu, their_memory = zip(*turns[DEFAULT][1:], strict=True)
        rows += [
            Row(f"resident memory with {name}", "MB", memory, peer, their_memory, "cost"),
            Row(f"mixed load with {name}", "requests/s", rates, peer, their_rates, "rate"),
            Row(f"processor time of a request with {name}", "ms", cpu, peer, their_cpu, "cost"),
        ]
    return rows


def mixed_requests(server: Server) -> list[bytes]:
    """A client's requests of one turn."""
    single = server.request({"records": [RECORD]})
    explained = [server.request({"records": [RECORD] * n}, "/predict/accidents?explain=true") for n in (5, 100)]
    thousand = server.request({"records": [RECORD] * 1000})
    movies = [server.request({"user_id": user, "count": 5}, "/predict/movies") for user in range(1, 21)]
    return [*[single] * 60, *explained, *movies, thousand, thousand]


def take_turn(server: Server) -> tuple[float, float, float]:
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
    time.sleep(LOGGED_SECONDS)  # what the log still holds is work of this turn
    sent = CLIENTS * len(requests)
    return sent / seconds, (server.cpu_seconds - before) * 1000 / sent, server.rss_mb
