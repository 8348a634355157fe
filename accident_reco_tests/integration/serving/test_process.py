"""Services as processes: start time, memory, one clear line where they cannot start, orderly stop, workers."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from accident_reco.settings import Settings
from accident_reco.storage.drift_reports import save_report
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.accounts import prepare_home
from accident_reco_tests.support.drift_rows import build_report_row
from accident_reco_tests.support.live import wait_for
from accident_reco_tests.support.real_accidents import real_bundle
from accident_reco_tests.support.service_process import environment, process
from accident_reco_tests.support.toy import promote

HEAVY = (
    "pandas",
    "dagster",
    "mlflow",
    "evidently",
    "surprise",
    "sklearn",
    "lightgbm",
    "implicit",
    "scipy",
    "matplotlib",
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    prepare_home(home)
    promote(home, real_bundle())
    return home


def test_predict_start_memory_and_stop(home: Path, tmp_path: Path) -> None:
    """Under 250 MB with a model loaded; not ready first, then a clean end; JSON logs without secrets."""
    log = tmp_path / "log"
    with process("predict", home, log, auth_required=False, drain_seconds=1) as (child, client):
        answer = client.post("/predict/accidents", json={"records": [{"catu": 1}]})
        assert answer.status_code == 200
        status = Path(f"/proc/{child.pid}/status").read_text()
        assert int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) < 250 * 1024
        child.send_signal(signal.SIGTERM)
        wait_for(lambda: client.get("/readyz").json()["status"] == "draining", seconds=1)
        assert client.post("/predict/accidents", json={"records": [{}]}).status_code == 200, "refused while draining"
        signalled = time.monotonic()
        assert child.wait(timeout=10) == 0
        assert time.monotonic() - signalled < 10
    lines = log.read_text().splitlines()
    assert all(line.startswith("{") for line in lines), "a log line is not JSON"
    # Not ready is a state; a failed request is an error.
    assert {line["level"] for line in map(json.loads, lines) if line.get("status") == 503} == {"warning"}
    assert any('"event":"request"' in line and answer.headers["x-request-id"] in line for line in lines)


@pytest.mark.parametrize("service", ["auth", "predict", "console"])
def test_port_in_use_is_one_clear_line(home: Path, service: str) -> None:
    """Address and variable to set, no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", f"serving.{service}"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env=environment(home, **{f"{service}_port": port}),
        )
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert f"127.0.0.1:{port}" in line
    assert f"ACCIDENT_RECO_{service.upper()}_PORT" in line


def test_invalid_settings_prevent_the_start(home: Path) -> None:
    """All invalid settings in one message, exit code 2."""
    done = subprocess.run(
        [sys.executable, "-m", "serving.predict"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=environment(home, max_body_bytes="much", http_workers=0),
    )
    assert done.returncode == 2
    assert "ACCIDENT_RECO_MAX_BODY_BYTES" in done.stderr
    assert "ACCIDENT_RECO_HTTP_WORKERS" in done.stderr
    assert "Traceback" not in done.stderr


def test_metrics_add_up_over_workers(home: Path, tmp_path: Path) -> None:
    """Each worker exposes the requests of all workers."""
    log = tmp_path / "log"
    with process("predict", home, log, auth_required=False, http_workers=2) as (_, client):
        url = str(client.base_url)
        for _ in range(40):
            # A connection each: the kernel spreads them over the workers.
            assert httpx.post(f"{url}/predict/accidents", json={"records": [{}, {}]}).status_code == 200
        for _ in range(4):
            text = httpx.get(f"{url}/metrics").text
            counted = re.findall(
                r'http_requests_total\{method="POST",route="/predict/accidents",status="200"\} (\S+)', text
            )
            assert [float(value) for value in counted] == [40.0]
            assert re.findall(r"predictions_total\{.*\} (\S+)", text) == ["80.0"]
            assert re.findall(r"model_info\{.*\} (\S+)", text) == ["1.0"]


def test_auth_metrics_add_up_over_workers(home: Path, tmp_path: Path) -> None:
    """Each of two workers exposes the logins of both, and the counters of an ended worker stay."""
    password = (home / "keys" / "admin-password").read_text().strip()
    with process("auth", home, tmp_path / "log", http_workers=2) as (child, client):
        url = str(client.base_url)

        def logins() -> set[str]:
            texts = [httpx.get(f"{url}/metrics").text for _ in range(4)]
            name = r'logins_total\{grant="password",outcome="ok"\} (\S+)'
            return {",".join(re.findall(name, text)) for text in texts}

        for _ in range(40):
            assert httpx.get(f"{url}/.well-known/jwks.json").status_code == 200
        for _ in range(6):
            answer = httpx.post(f"{url}/token", data={"username": "admin", "password": password})
            assert answer.status_code == 200
        assert logins() == {"6.0"}
        text = httpx.get(f"{url}/metrics").text
        counted = re.findall(r'http_requests_total\{.*jwks.json",status="200"\} (\S+)', text)
        assert counted == ["40.0"]
        workers = [pid for pid in children_of(child.pid) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        wait_for(lambda: workers[0] not in children_of(child.pid) and len(children_of(child.pid)) >= 2, seconds=20)
        assert logins() == {"6.0"}


def test_workers_of_the_console_share_sessions(home: Path, tmp_path: Path) -> None:
    """A login at one worker counts at both, and so does its logout; the metrics are those of both."""
    form = {"username": "admin", "password": (home / "keys" / "admin-password").read_text().strip()}
    with process("auth", home, tmp_path / "auth") as (_, auth):
        settings = {"http_workers": 2, "internal_auth_url": str(auth.base_url)}
        with process("console", home, tmp_path / "console", **settings) as (_, client):
            url = str(client.base_url)

            def get() -> httpx.Response:
                # A connection each: the kernel spreads them over the workers.
                return httpx.get(f"{url}/admin", cookies=cookies, timeout=20)

            cookies = dict(httpx.post(f"{url}/login", data=form, timeout=20).cookies)
            assert {get().status_code for _ in range(12)} == {200}
            counted = r'http_requests_total\{.*route="/admin",status="200"\} (\S+)'
            # Another worker may be asked before the one that answered has counted its answer.
            wait_for(lambda: re.findall(counted, client.get("/metrics").text) == ["12.0"])
            csrf = re.findall('name="csrf" value="([0-9a-f]{64})"', get().text)[0]
            assert httpx.post(f"{url}/logout", data={"csrf": csrf}, cookies=cookies).status_code == 303
            assert {get().status_code for _ in range(12)} == {303}
    assert form["password"] not in (tmp_path / "console").read_text()


def children_of(pid: int) -> list[int]:
    """Ids of the running child processes."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = status.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == pid and state != "Z":
            found.append(int(status.parent.name))
    return found


def test_drift_metrics_are_not_doubled_by_workers(home: Path, tmp_path: Path) -> None:
    """All workers show the same report: a gauge has one value, a counter the sum."""
    warehouse = Warehouse(Settings.load(home=home).database)
    save_report(warehouse, build_report_row(status="stable", rows=700, judged=6, drifted=0, drifted_share=0.0))
    warehouse.close()
    with process("drift", home, tmp_path / "log", auth_required=False, http_workers=2) as (_, client):
        url = str(client.base_url)
        for _ in range(20):
            assert httpx.get(f"{url}/monitoring/drift/none").status_code in (404, 422)
        wait_for(lambda: "drift_window_rows" in httpx.get(f"{url}/metrics").text)
        for _ in range(4):
            text = httpx.get(f"{url}/metrics").text
            assert re.findall(r'drift_window_rows\{model="accidents"\} (\S+)', text) == ["700.0"]
            counted = re.findall(r'http_requests_total\{.*route="/monitoring/drift/\{model\}".*\} (\S+)', text)
            assert [float(value) for value in counted] == [20.0]


def test_importing_the_services_loads_no_training_stack() -> None:
    """No training library is in `sys.modules`."""
    script = f"import sys, serving.predict.app, serving.auth.app; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_the_console_needs_no_library_of_models(tmp_path: Path) -> None:
    """With the pages of every model: neither the training stack nor what predictions need."""
    script = (
        "import sys; from accident_reco.settings import Settings; from serving.console.app import create_app; "
        f"create_app(Settings.load(home={str(tmp_path)!r})); "
        f"print([m for m in {(*HEAVY, 'numpy', 'onnxruntime')!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
