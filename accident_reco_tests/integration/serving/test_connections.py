"""Connections of a running service: idle ones do not shut others out, and a stop resets none."""

from __future__ import annotations

import http.client
import signal
import socket
import threading
import time
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import pytest

from accident_reco_tests.support.accounts import prepare_home
from accident_reco_tests.support.bounded_service import HEAD
from accident_reco_tests.support.real_accidents import real_bundle
from accident_reco_tests.support.service_process import process
from accident_reco_tests.support.toy import promote


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    prepare_home(home)
    promote(home, real_bundle())
    return home


def test_idle_connections_shut_nobody_out(home: Path, tmp_path: Path) -> None:
    """As many as are allowed in all, and half as many again: the oldest are closed, new ones are served."""
    limits = {"max_connections": 60, "max_connections_per_address": 40}
    with process("predict", home, tmp_path / "log", auth_required=False, **limits) as (_, client), ExitStack() as stack:
        host, port = client.base_url.host, client.base_url.port or 80
        idle = [stack.enter_context(socket.create_connection((host, port), timeout=5)) for _ in range(90)]
        body = {"records": [{"catu": 1}]}
        assert httpx.post(f"http://{host}:{port}/predict/accidents", json=body).status_code == 200
        assert idle[0].recv(1) == b"", "the longest idle connection is still open"
        idle[-1].sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
        assert idle[-1].recv(100).startswith(b"HTTP/1.1 200"), "the latest connection was closed"


def test_requests_beyond_the_limit_are_refused_in_words(home: Path, tmp_path: Path) -> None:
    """A problem for a request, an answer for a probe, and the requests in progress end well."""
    limits = {"max_connections": 5, "max_connections_per_address": 5}
    with process("predict", home, tmp_path / "log", auth_required=False, **limits) as (_, client), ExitStack() as stack:
        host, port = client.base_url.host, client.base_url.port or 80
        client.close()
        head = HEAD + b"content-length: 24\r\n\r\n"
        slow = [stack.enter_context(socket.create_connection((host, port), timeout=5)) for _ in range(5)]
        for connection in slow:
            connection.sendall(head)

        def status(path: str) -> tuple[int, str]:
            with closing(http.client.HTTPConnection(host, port, timeout=5)) as connection:
                connection.request("GET", path)
                answer = connection.getresponse()
                answer.read()
                return answer.status, answer.getheader("content-type", "")

        deadline = time.monotonic() + 5
        while (refused := status("/models"))[0] != 503:
            assert time.monotonic() < deadline, refused
        assert refused == (503, "application/problem+json")
        assert status("/livez")[0] == 200
        assert status("/readyz")[0] == 200
        for connection in slow:
            connection.sendall(b'{"records":[{"catu":1}]}')
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
        assert status("/models")[0] == 200


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_resets_no_connection(home: Path, tmp_path: Path, workers: int) -> None:
    """Clients that open connections all the time, through the stop: each is answered, or refused by a closed port."""
    outcomes: Counter[str] = Counter()
    stopped = threading.Event()
    settings = {"auth_required": False, "drain_seconds": 0.2, "http_workers": workers}
    with process("predict", home, tmp_path / "log", **settings) as (child, client):
        host, port = client.base_url.host, client.base_url.port or 80
        client.close()

        def ask() -> None:
            while not stopped.is_set():
                try:
                    with closing(http.client.HTTPConnection(host, port, timeout=10)) as connection:
                        connection.connect()
                        connection.request("GET", "/livez")
                        outcomes[str(connection.getresponse().status)] += 1
                except ConnectionRefusedError:
                    outcomes["refused"] += 1
                    return
                except (OSError, http.client.HTTPException) as error:
                    outcomes[type(error).__name__] += 1

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 20
        while outcomes["200"] < 200:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=10) == 0
        for thread in threads:
            thread.join(15)
        stopped.set()
    assert set(outcomes) == {"200", "refused"}, outcomes
