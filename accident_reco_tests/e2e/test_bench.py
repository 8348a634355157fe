"""Comparisons with real servers, small."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from accident_reco_tests.bench.comparison import Options
from accident_reco_tests.bench.comparisons.accident_service import BODY, predicting, prepare_home
from accident_reco_tests.bench.comparisons.noop import compare_rates
from accident_reco_tests.bench.comparisons.profiles import LINES, profile_service
from accident_reco_tests.bench.servers import running, start_noop

pytestmark = pytest.mark.e2e


def test_one_record_against_the_noop(tmp_path: Path) -> None:
    """Both sides answer the same body under load in turns, and the profile of the service lists its functions."""
    steps: list[str] = []
    options = Options(1, 0.2, 0.01, tmp_path, tmp_path / "peers", steps.append)
    home, _ = prepare_home(options)
    with predicting(home) as (_, ours), running(start_noop(BODY, tmp_path)) as nothing:
        rate, tail = compare_rates({"ours": ours, "no-op": nothing}, 1, "SQLite", options)
    assert rate.ratio is not None
    assert rate.ratio > 0
    assert rate.peer.startswith("no-op, FastAPI")
    assert tail.ours[0] >= 1
    assert steps[-2:] == [f"1 connection, log in SQLite, round 1 of 1: {side}" for side in ("ours", "no-op")]
    profile = profile_service(home, BODY, 0.3).splitlines()
    assert profile[0].split()[:2] == ["ncalls", "tottime"]
    assert len(profile) > LINES


def test_a_stopped_run_leaves_no_server(tmp_path: Path) -> None:
    """SIGTERM to the command, while its servers run: the exit code is that of the signal, and they end with it."""
    command = [sys.executable, "-m", "accident_reco.cli", "bench", "--only", "predict", "--scale", "0.01"]
    environment = os.environ | {"ACCIDENT_RECO_HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        while "round 1 of" not in (line := run.stderr.readline()):
            assert line, "it ended before the first round"
        servers = [
            one for one in psutil.Process(run.pid).children(recursive=True) if "serving.predict" in one.cmdline()
        ]
        assert len(servers) == 1
        run.terminate()
        run.communicate(timeout=60)
    assert run.returncode == 143
    assert not servers[0].is_running()
