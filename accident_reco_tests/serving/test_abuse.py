"""What hostile or broken clients send: bodies, paths, headers, framing, slowness. Tables grouped by cause."""

from __future__ import annotations

import errno
import gzip
import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from accident_reco.settings import Settings
from accident_reco_tests.serving.live import live, wait_for
from accident_reco_tests.serving.toy import LOADERS, promote, toy_bundle
from serving.common.routing import is_too_deep
from serving.common.run import _listen
from serving.predict.app import create_app

URL = "/predict/accidents"
JSON = {"content-type": "application/json"}
HEAD = b"POST /predict/accidents HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
SECRET = "a-value-that-must-not-come-back"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    home = tmp_path_factory.mktemp("abuse")
    promote(home, toy_bundle())
    settings = Settings.load(
        home=home, auth_required=False, max_body_bytes=200_000, body_idle_seconds=0.4, request_seconds=1.5
    )
    with live(create_app(settings, LOADERS)) as client:
        yield client


def exchange(client: httpx.Client, data: bytes, wait: float = 5.0) -> bytes:
    """Send raw bytes, read until the server closes or falls silent."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=wait) as connection:
        connection.sendall(data)
        received = b""
        try:
            while piece := connection.recv(65536):
                received += piece
        except TimeoutError:
            pass
        return received


BODIES = {
    "NaN": b'{"records": [{"lat": NaN}]}',
    "Infinity": b'{"records": [{"lat": Infinity}]}',
    "-Infinity": b'{"records": [{"lat": -Infinity}]}',
    "overflowing float": b'{"records": [{"lat": 1e999}]}',
    "huge integer": b'{"records": [{"catu": ' + b"9" * 5000 + b"}]}",
    "huge exponent": b'{"records": [{"catu": 1e400000}]}',
    "integer beyond 64 bits": b'{"records": [{"Num_Acc": 99999999999999999999}]}',
    "negative beyond 64 bits": b'{"records": [{"an": -99999999999999999999}]}',
    "depth": b'{"records": ' + b"[" * 500 + b"]" * 500 + b"}",
    "depth that never ends": b"[" * 100_000,
    "depth of objects": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "trailing comma": b'{"records": [{},]}',
    "comment": b'{"records": [{}]} // hello',
    "two documents": b'{"records": [{}]}{"records": [{}]}',
    "empty": b"",
    "white space": b"   ",
    "not UTF-8": b'{"records": [{"com": "\xff\xfe"}]}',
    "lone surrogate": b'{"records": [{"com": "\\ud800"}]}',
    "UTF-16": '{"records": [{}]}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"records": [{}]}',
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    "XML": b"<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>",
    "unknown field": json.dumps({"records": [{SECRET: 1}]}).encode(),
    "prototype": b'{"records": [{"__proto__": {"catu": 1}}]}',
    "python attribute": b'{"records": [{"__class__": "x"}]}',
    "wrong types everywhere": b'{"records": [{"catu": [], "lat": {}, "com": 1, "hrmn": true}]}',
    "long text": json.dumps({"records": [{"com": SECRET * 100}]}).encode(),
    "many errors": json.dumps({"records": [{"catu": 99}] * 1000}).encode(),
}


@pytest.mark.parametrize("kind", BODIES)
def test_bodies_that_are_refused(client: httpx.Client, kind: str) -> None:
    """Always 422, always a problem that is valid JSON, never an echo, never more than a screenful."""
    answer = client.post(URL, content=BODIES[kind], headers=JSON)
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert problem["status"] == 422
    assert problem["request_id"]
    assert SECRET * 2 not in answer.text
    assert "9" * 20 not in answer.text
    assert len(answer.content) < 8_000


@pytest.mark.parametrize("text", ["a\u0000b", "\u202e", "'; DROP TABLE predictions; --", "=cmd()", "{{7*7}}", "💥"])
def test_odd_text_is_only_text(client: httpx.Client, text: str) -> None:
    """Text fields take any text within their length."""
    assert client.post(URL, json={"records": [{"com": text, "adr": text}]}).status_code == 200


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/xml", "multipart/form-data; boundary=x", "json", "application/"]
)
def test_other_media_types_are_refused(client: httpx.Client, content_type: str) -> None:
    """JSON is said to be JSON."""
    answer = client.post(URL, content=b'{"records": [{}]}', headers={"content-type": content_type})
    assert answer.status_code == 415


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, identity", "x"])
def test_encoded_bodies_are_refused(client: httpx.Client, encoding: str) -> None:
    """Nothing is decompressed, so that nothing can explode; the same for JSON and CSV."""
    for path, media_type in ((URL, "application/json"), (f"{URL}/csv", "text/csv")):
        headers = {"content-type": media_type, "content-encoding": encoding}
        answer = client.post(path, content=gzip.compress(b'{"records": [{}]}'), headers=headers)
        assert answer.status_code == 415
        assert answer.json()["type"].endswith("encoded-body")


PATHS = [
    "/models/..%2f..%2fetc%2fpasswd",
    "/models/%2e%2e",
    "/models/%00",
    "/models/accidents%00.json",
    "/models/" + "a" * 3000,
    "/models/💥",
    "/models/accidents/",
    "//models",
    "/models//accidents",
    "/MODELS",
    "/v2/models/..%2f..",
    "/docs/..%2f",
    "/%ff%fe",
    "/models/accidents?version=../../x&a[]=1",
    "/v2/models/accidents/versions/..%2f..%2f/ready",
]


@pytest.mark.parametrize("path", PATHS)
def test_paths(client: httpx.Client, path: str) -> None:
    """No path of a client's becomes a file, a query or a metric; the answer is a problem or what was asked for."""
    answer = client.get(path)
    assert answer.status_code in (200, 404, 422), answer.text
    assert "root:" not in answer.text
    if answer.status_code != 200:
        assert answer.headers["content-type"] == "application/problem+json"
    routes = [line for line in client.get("/metrics").text.splitlines() if line.startswith("http_requests_total")]
    assert all("etc" not in line and "aaaa" not in line and "💥" not in line for line in routes)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "QUERY", "BREW"])
def test_other_methods(client: httpx.Client, method: str) -> None:
    """405 with Allow, or 400 where the HTTP parser knows no such method; invented ones are no metric label."""
    answer = client.request(method, URL)
    assert answer.status_code in (400, 405)
    if answer.status_code == 405:
        assert answer.headers["allow"] == "POST"
    assert 'method="BREW"' not in client.get("/metrics").text


@pytest.mark.parametrize(
    ("given", "kept"),
    [("abc-1.2_3", True), ("x" * 64, True), ("x" * 65, False), ("a b", False), ("<script>", False), ("", False)],
)
def test_request_ids(client: httpx.Client, given: str, kept: bool) -> None:
    """A harmless id of the caller's is used and given back; any other is replaced."""
    answer = client.get("/models/none", headers={"X-Request-ID": given})
    assert (answer.headers["x-request-id"] == given) is kept
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_bodies_over_the_limit(client: httpx.Client) -> None:
    """Stated or found out on the way, 413; the connection is closed, so the rest is not taken for a request."""
    stated = client.post(URL, content=b"x" * 200_001, headers=JSON)
    assert stated.status_code == 413
    assert stated.json()["type"].endswith("body-too-large")
    pieces = b"".join(b"%x\r\n%b\r\n" % (10_000, b"x" * 10_000) for _ in range(25))
    head = HEAD + b"transfer-encoding: chunked\r\n\r\n"
    answer = exchange(client, head + pieces)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer


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
    """Refused or cut off; never a second answer smuggled through, never the end of the service."""
    answer = exchange(client, FRAMING[kind], wait=1.5)
    assert answer.count(b"HTTP/1.1 200") <= (kind in ("folded header", "no version"))
    assert b"Traceback" not in answer
    if kind in ("long header", "many headers", "long target"):
        assert answer.startswith(b"HTTP/1.1 431"), answer[:100]
        assert b"application/problem+json" in answer
    assert client.get("/livez").status_code == 200


def test_a_body_that_drips_is_given_up(client: httpx.Client) -> None:
    """Silence in the middle of a body: 408 after the idle time, and the connection is closed."""
    started = time.monotonic()
    head = (
        b"POST /predict/accidents HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"
    )
    answer = exchange(client, head)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"slow-request" in answer
    assert time.monotonic() - started < 1.4


def test_a_body_that_drips_on_is_given_up_too(client: httpx.Client) -> None:
    """A byte now and then keeps nobody for longer than a request may take."""
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


def test_a_head_that_drips_is_cut_off(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slowloris: a connection that never finishes its request line is closed."""
    monkeypatch.setattr("serving.common.run.HEADER_SECONDS", 0.3)
    started = time.monotonic()
    assert exchange(client, b"GET /livez HTTP/1.1\r\nhost:") == b""
    assert time.monotonic() - started < 3


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux tells when a peer takes nothing")
def test_an_answer_that_nobody_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that keeps its window shut holds its connection for a bounded time only."""
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


def test_leaving_early_is_counted_and_harmless(client: httpx.Client) -> None:
    """A client that is gone before the answer: no error, the next one is served."""
    for _ in range(20):
        with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as connection:
            connection.sendall(b"POST /predict/accidents HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{")
    wait_for(lambda: "http_requests_in_progress 1.0" in client.get("/metrics").text)
    assert client.post(URL, json={"records": [{}]}).status_code == 200


def test_every_answer_has_the_headers(client: httpx.Client) -> None:
    """Request id, no sniffing, nothing cached, no server banner."""
    for answer in (client.get("/models"), client.get("/nope"), client.post(URL, json={})):
        assert answer.headers["x-request-id"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers


def test_metrics_are_for_loopback_or_by_setting(tmp_path: Path) -> None:
    """Behind a trusted proxy the caller is whom the proxy names: an address from elsewhere is refused."""
    from starlette.requests import Request

    from serving.common.app import _is_from_loopback

    for name in (b"x-forwarded-for", b"forwarded", b"x-real-ip"):
        request = Request({"type": "http", "client": ("127.0.0.1", 1), "headers": [(name, b"203.0.113.9")]})
        assert not _is_from_loopback(request), "a proxy on this machine opens the metrics to everybody"
    for host, expected in (("127.0.0.1", True), ("::1", True), ("10.0.0.8", False), ("example", False), ("", False)):
        request = Request({"type": "http", "client": (host, 1), "headers": []})
        assert _is_from_loopback(request) is expected


@pytest.mark.parametrize(
    ("text", "limit", "deep"),
    [
        (b"[[]]", 2, False),
        (b"[[[]]]", 2, True),
        (b'{"a": [{"b": 1}]}', 3, False),
        (b'{"a": [{"b": 1}]}', 2, True),
        (b'["[[[[["]', 1, False),
        (b'["\\"[[[[["]', 1, False),
        (b'["\\\\", [[]]]', 2, True),
        (b"[],[],[]", 1, False),
        (b"[" * 9, 8, True),
        (b"", 1, False),
        (b"1", 1, False),
        (b'{"a":{}}' * 50, 2, False),
    ],
)
def test_depth_is_counted_without_parsing(text: bytes, limit: int, deep: bool) -> None:
    """Brackets inside strings do not count, escapes do not confuse."""
    assert is_too_deep(text, limit) is deep
