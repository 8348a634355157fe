"""HTTP framing, slow clients and aborted connections: cut off in time, without harm to other requests."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from accident_reco.settings import Settings
from accident_reco_tests.support.bounded_service import HEAD, JSON, URL, bounded_service
from accident_reco_tests.support.live import live, wait_for
from accident_reco_tests.support.toy import LOADERS
from serving.common.middleware import DISCARD_IDLE_SECONDS, DISCARDED_BYTES
from serving.common.run import _listen
from serving.predict.app import create_app


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with bounded_service(tmp_path_factory.mktemp("abuse")) as client:
        yield client


def exchange(client: httpx.Client, data: bytes, wait: float = 5.0) -> bytes:
    """Send raw bytes; returns what the server sends until it closes the connection or `wait` seconds pass."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=wait) as connection:
        connection.sendall(data)
        received = b""
        try:
            while piece := connection.recv(65536):
                received += piece
        except TimeoutError:
            pass
        return received


def test_bodies_over_the_limit(client: httpx.Client) -> None:
    """413 by declared or by counted length; the connection is closed, so that the rest is not parsed as a request."""
    stated = client.post(URL, content=b"x" * 200_001, headers=JSON)
    assert stated.status_code == 413
    assert stated.json()["type"].endswith("body-too-large")
    pieces = b"".join(b"%x\r\n%b\r\n" % (10_000, b"x" * 10_000) for _ in range(25))
    head = HEAD + b"transfer-encoding: chunked\r\n\r\n"
    answer = exchange(client, head + pieces)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer


def test_clients_that_send_everything_first_get_their_413(client: httpx.Client) -> None:
    """Such a client reads after its last byte: the connection is not reset under it, and then closed."""
    body = b"x" * 6_000_000
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=10) as connection:
        connection.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(body))
        connection.sendall(body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"body-too-large" in answer


def test_a_refused_body_is_read_for_a_bounded_size(tmp_path: Path) -> None:
    """Without a token: 401 at once; who goes on sending is disconnected after some MiB."""
    with live(create_app(Settings.load(home=tmp_path), LOADERS), ready=False) as client:
        host, port = client.base_url.host, client.base_url.port or 80
        with socket.create_connection((host, port), timeout=10) as connection:
            connection.sendall(HEAD + b"content-length: 1000000000\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 401")
            sent = 0
            with suppress(ConnectionError):
                while sent < 1_000_000_000:
                    sent += connection.send(b"x" * 65536)
    assert sent < DISCARDED_BYTES + 16_000_000


def test_clients_that_wait_for_100_continue_are_answered_at_once(client: httpx.Client) -> None:
    """No body follows a refusal: the connection is closed without waiting for one."""
    started = time.monotonic()
    answer = exchange(client, HEAD + b"expect: 100-continue\r\ncontent-length: 6000000\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413")
    assert time.monotonic() - started < DISCARD_IDLE_SECONDS


FRAMING = {
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 50,
    "no version": b"GET /livez\r\n\r\n" + b"\r\n",
    "length and chunks": b"POST /predict/accidents HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n"
    b"transfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /livez HTTP/1.1\r\nhost: x\r\n\r\n",
    "two lengths": b"POST /predict/accidents HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n"
    b"content-length: 5\r\n\r\nabcde",
    "negative length": b"POST /predict/accidents HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
    "length beyond any": b"POST /predict/accidents HTTP/1.1\r\nhost: x\r\ncontent-length: " + b"9" * 40 + b"\r\n\r\n",
    "length with a sign": HEAD + b'content-length: +4\r\n\r\n{"a":1}',
    "length in hexadecimal": HEAD + b'content-length: 0x4\r\n\r\n{"a":1}',
    "list of lengths": HEAD + b'content-length: 4, 4\r\n\r\n{"a":1}',
    "encoding that is none": HEAD + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked twice": HEAD + b"transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunk beyond any": HEAD + b"transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\nx\r\n0\r\n\r\n",
    "space before the colon": HEAD + b'content-length : 4\r\n\r\n{"a":1}',
    "bare line feeds": HEAD.replace(b"\r\n", b"\n") + b"\n",
    "another protocol": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a tunnel": b"CONNECT 127.0.0.1:80 HTTP/1.1\r\nhost: x\r\n\r\n",
    "every resource": b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n",
    "folded header": b"GET /livez HTTP/1.1\r\nhost: x\r\na: b\r\n c\r\n\r\n\x00",
    "bad chunk": b"POST /predict/accidents HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    "null in header": b"GET /livez HTTP/1.1\r\nhost: x\r\na: b\x00c\r\n\r\n",
    "long header": b"GET /livez HTTP/1.1\r\nhost: x\r\na: " + b"b" * 40_000 + b"\r\n\r\n",
    "many headers": b"GET /livez HTTP/1.1\r\nhost: x\r\n" + b"".join(b"a%d: b\r\n" % i for i in range(9000)) + b"\r\n",
    "long target": b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
}


@pytest.mark.parametrize("kind", FRAMING)
def test_broken_framing(client: httpx.Client, kind: str) -> None:
    """Rejected or cut off; no smuggled second response, and the service still works."""
    answer = exchange(client, FRAMING[kind], wait=1.5)
    assert answer.count(b"HTTP/1.1 200") <= (kind in ("folded header", "no version"))
    assert b"Traceback" not in answer
    if kind in ("long header", "many headers", "long target"):
        assert answer.startswith(b"HTTP/1.1 431"), answer[:100]
        assert b"application/problem+json" in answer
    assert client.get("/livez").status_code == 200


def test_stalled_body_is_cut_off(client: httpx.Client) -> None:
    """No data in the middle of a body: 408 after the idle time, and the connection is closed."""
    started = time.monotonic()
    head = (
        b"POST /predict/accidents HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"
    )
    answer = exchange(client, head)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"slow-request" in answer
    assert time.monotonic() - started < 1.4


def test_slow_body_is_cut_off(client: httpx.Client) -> None:
    """A byte now and then does not extend the time limit of the request."""
    head = (
        b"POST /predict/accidents HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n"
    )
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=5) as connection:
        connection.sendall(head)
        connection.settimeout(0.2)
        started, answer = time.monotonic(), b""
        while not answer and time.monotonic() - started < 5:
            connection.sendall(b" ")
            try:
                answer = connection.recv(65536)
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 408")
    assert 1.0 < time.monotonic() - started < 4


def test_slow_head_is_cut_off(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slowloris: a connection that never finishes its request line is closed."""
    monkeypatch.setattr("serving.common.run.HEADER_SECONDS", 0.3)
    started = time.monotonic()
    assert exchange(client, b"GET /livez HTTP/1.1\r\nhost:") == b""
    assert time.monotonic() - started < 3


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="TCP_USER_TIMEOUT exists on Linux only")
def test_unread_response_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that reads nothing holds its connection for a bounded time."""
    monkeypatch.setattr("serving.common.run.UNREAD_SECONDS", 1)
    with (
        _listen("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as server,
    ):
        server.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                server.send(b"x" * 65536)
        assert client.fileno() > 0
        wait_for(lambda: server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ETIMEDOUT)


def test_aborted_requests_are_harmless(client: httpx.Client) -> None:
    """Clients that disconnect before the response cause no error; the next one is served."""
    for _ in range(20):
        with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as connection:
            connection.sendall(b"POST /predict/accidents HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{")
    wait_for(lambda: "http_requests_in_progress 1.0" in client.get("/metrics").text)
    assert client.post(URL, json={"records": [{}]}).status_code == 200
