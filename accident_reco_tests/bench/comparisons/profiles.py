"""Where our time goes: cProfile of a call, or of the whole predict service under load."""

from __future__ import annotations

import cProfile
import pstats
import signal
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path

from accident_reco_tests.bench import predict_process
from accident_reco_tests.bench.load import Target, apply_load

LINES = 14
WAIT_SECONDS = 30


def profile_call(work: Callable[[], object]) -> str:
    """The functions of a call with the most time of their own."""
    profile = cProfile.Profile()
    profile.runcall(work)
    return format_profile(profile)


def profile_service(home: Path, body: object, seconds: float, connections: int = 8) -> str:
    """The functions of the predict service with the most time of their own, under load.

    The profiler itself makes calls of Python dearer than work in libraries.
    """
    found, module = home / "service.prof", "accident_reco_tests.bench.profiled"
    found.unlink(missing_ok=True)
    with predict_process.running(home, {"BENCH_PROFILE": str(found)}, module=module) as server:
        target = Target(server.port, (server.request(body),))
        apply_load(target, connections, 0.5)  # what the first requests import is no part of it
        server.send(signal.SIGUSR1)
        apply_load(target, connections, seconds)
        server.send(signal.SIGUSR1)
        until = time.monotonic() + WAIT_SECONDS
        while not found.exists():
            if time.monotonic() > until:
                return "the service wrote no profile"
            time.sleep(0.05)
    return format_profile(found)


def format_profile(profile: cProfile.Profile | Path) -> str:
    """Head of a profile by own time, without folders."""
    out = StringIO()
    stats = pstats.Stats(str(profile) if isinstance(profile, Path) else profile, stream=out)
    stats.strip_dirs().sort_stats("tottime").print_stats(LINES)
    lines = [line.rstrip() for line in out.getvalue().splitlines() if line.strip()]
    start = next(number for number, line in enumerate(lines) if line.lstrip().startswith("ncalls"))
    return "\n".join(lines[start:])
