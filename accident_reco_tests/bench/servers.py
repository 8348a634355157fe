"""Servers of peers as processes of this run: how each starts, and the request that it takes for the same record.

A model server gets the row of features that our feature builder has made: it checks no token, builds no features and
writes no log. What it leaves out is in its favour.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from accident_reco.launch.processes import free_port
from accident_reco_tests.bench import peers
from accident_reco_tests.bench.load import Target, apply_load
from accident_reco_tests.bench.peers import PROGRAMS, Peer, PeerMissing

START_SECONDS = 120
QUIET = {
    "BENTOML_DO_NOT_TRACK": "True",
    "DO_NOT_TRACK": "1",
    "NML_DISABLE_USAGE_LOGGING": "1",
    "UVICORN_ACCESS_LOG": "false",
}
"""Variables of all peers: no usage statistics to their makers; no access log of uvicorn, since ours has none."""


@dataclass(frozen=True)
class Start:
    """How a server starts, and its request."""

    command: list[str]
    target: Target
    folder: Path
    environment: Mapping[str, str]


def start_noop(body: object, folder: Path) -> Start:
    """The authenticated no-op, in the platform's own environment."""
    import jwt

    port, key = free_port(), secrets.token_hex(32)
    token = jwt.encode({"sub": "bench", "exp": int(time.time()) + 86_400}, key, "HS256")
    target = Target.post(port, "/predict/accidents", body, {"authorization": f"Bearer {token}"})
    return Start([sys.executable, str(PROGRAMS / "noop.py"), str(port), key], target, folder, {})


def start_litserve(python: Path, model: Path, row: list[float], folder: Path) -> Start:
    """LitServe with one worker."""
    port = free_port()
    command = [str(python), str(PROGRAMS / "lit_server.py"), str(port), str(model)]
    return Start(command, Target.post(port, "/predict", {"features": [row]}), folder, {})


def start_bentoml(python: Path, model: Path, row: list[float], folder: Path) -> Start:
    """BentoML with one worker."""
    port = free_port()
    shutil.copy(PROGRAMS / "bento_service.py", folder)
    service = ["serve", "bento_service:Accidents", "--host", "127.0.0.1", "--port", str(port)]
    command = [str(python), "-m", "bentoml", *service]
    environment = {"BENCH_MODEL": str(model), "BENTOML_HOME": str(folder / "bentoml")}
    return Start(command, Target.post(port, "/predict", {"features": [row]}), folder, environment)


def start_mlserver(python: Path, model: Path, row: list[float], folder: Path) -> Start:
    """MLServer, inference in its own process: it is slower with a pool of workers."""
    ports = {name: free_port() for name in ("http_port", "grpc_port", "metrics_port")}
    shutil.copy(PROGRAMS / "mlserver_runtime.py", folder)
    settings = {**ports, "host": "127.0.0.1", "parallel_workers": 0, "debug": False}
    (folder / "settings.json").write_text(json.dumps(settings))
    implementation = {"name": "accidents", "implementation": "mlserver_runtime.OnnxRuntime"}
    (folder / "model-settings.json").write_text(json.dumps({**implementation, "parameters": {"uri": str(model)}}))
    tensor = {"name": "features", "shape": [1, len(row)], "datatype": "FP32", "data": row}
    target = Target.post(ports["http_port"], "/v2/models/accidents/infer", {"inputs": [tensor]})
    command = [str(python.with_name("mlserver")), "start", str(folder)]
    return Start(command, target, folder, {"PYTHONPATH": str(folder)})


def start_mlflow(python: Path, model: Path, row: list[float], folder: Path) -> Start:
    """`mlflow models serve` with one worker."""
    port, saved = free_port(), folder / "mlflow_model"
    peers.run([str(python), str(PROGRAMS / "mlflow_model.py"), str(model), str(saved)])
    serve = ["models", "serve", "--model-uri", str(saved), "--env-manager", "local", "--workers", "1"]
    command = [str(python), "-m", "mlflow", *serve, "--host", "127.0.0.1", "--port", str(port)]
    target = Target.post(port, "/invocations", {"inputs": {"features": [row]}})
    return Start(command, target, folder, {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"})


MODEL_SERVERS: dict[str, tuple[Peer, Callable[[Path, Path, list[float], Path], Start]]] = {
    peer.name: (peer, start)
    for peer, start in (
        (peers.MLSERVER, start_mlserver),
        (peers.LITSERVE, start_litserve),
        (peers.BENTOML, start_bentoml),
        (peers.MLFLOW, start_mlflow),
    )
}


@contextmanager
def running(start: Start) -> Iterator[Target]:
    """The server as a process group of its own, which ends with the block.

    Raises:
        PeerMissing: it does not answer within `START_SECONDS`.
    """
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    environment |= {**QUIET, "OMP_NUM_THREADS": "1", **start.environment}
    log = start.folder / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            start.command, cwd=start.folder, env=environment, stdout=out, stderr=out, start_new_session=True
        )
        try:
            _await_answer(start.target, process, log)
            yield start.target
        finally:
            _end(process)


def _await_answer(target: Target, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when it answers a request with 200."""
    until, last = time.monotonic() + START_SECONDS, "no answer"
    while time.monotonic() < until:
        if process.poll() is not None:
            last = f"ended with exit code {process.returncode}"
            break
        try:
            apply_load(target, 1, 0.05, 0.0)
        except Exception as error:  # refused, or not ready: whatever it is, the last one is reported
            last = str(error).strip() or type(error).__name__
            time.sleep(0.1)
        else:
            return
    tail = " ".join(log.read_text(errors="replace").split()[-40:])
    raise PeerMissing(f"did not start: {last.splitlines()[-1][:120]}; {tail[-200:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop the process and what it has started."""
    for number in (15, 9):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            continue
    process.wait(timeout=10)
