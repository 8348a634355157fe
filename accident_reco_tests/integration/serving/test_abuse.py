"""Invalid and hostile requests: bodies, media types, paths, methods, headers."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from accident_reco_tests.support.bounded_service import JSON, SECRET, URL, bounded_service
from serving.common.routing import is_too_deep


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with bounded_service(tmp_path_factory.mktemp("abuse")) as client:
        yield client


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
def test_invalid_bodies_are_rejected(client: httpx.Client, kind: str) -> None:
    """422 with a short problem that echoes no value."""
    answer = client.post(URL, content=BODIES[kind], headers=JSON)
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert problem["status"] == 422
    assert problem["request_id"]
    assert SECRET * 2 not in answer.text
    assert "9" * 20 not in answer.text
    assert len(answer.content) < 8_000


@pytest.mark.parametrize("text", ["a\u0000b", "\u202e", "'; DROP TABLE predictions; --", "=cmd()", "{{7*7}}", "💥"])
def test_unusual_text_is_accepted(client: httpx.Client, text: str) -> None:
    """Text fields take any text within their length."""
    assert client.post(URL, json={"records": [{"com": text, "adr": text}]}).status_code == 200


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/xml", "multipart/form-data; boundary=x", "json", "application/"]
)
def test_other_media_types_are_rejected(client: httpx.Client, content_type: str) -> None:
    """A JSON body requires a JSON media type."""
    answer = client.post(URL, content=b'{"records": [{}]}', headers={"content-type": content_type})
    assert answer.status_code == 415


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, identity", "x"])
def test_encoded_bodies_are_rejected(client: httpx.Client, encoding: str) -> None:
    """No body is decompressed (decompression bombs); JSON and CSV alike."""
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
    """No requested path reaches a file, a query or a metric label; errors are problems."""
    answer = client.get(path)
    assert answer.status_code in (200, 307, 404, 422), answer.text
    assert "root:" not in answer.text
    if answer.status_code == 307:  # the client takes the first part of `//models` for a host: this asked for `/`
        assert answer.headers["location"] == "docs"
    elif answer.status_code != 200:
        assert answer.headers["content-type"] == "application/problem+json"
    routes = [line for line in client.get("/metrics").text.splitlines() if line.startswith("http_requests_total")]
    assert all("etc" not in line and "aaaa" not in line and "💥" not in line for line in routes)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "QUERY", "BREW"])
def test_other_methods(client: httpx.Client, method: str) -> None:
    """405 with Allow, or 400 for methods unknown to the HTTP parser; unknown methods are not a metric label."""
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
    """A well-formed id of the client is used and returned; any other is replaced."""
    answer = client.get("/models/none", headers={"X-Request-ID": given})
    assert (answer.headers["x-request-id"] == given) is kept
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_every_response_has_the_common_headers(client: httpx.Client) -> None:
    """Request id, nosniff, no-store, no server banner."""
    for answer in (client.get("/models"), client.get("/nope"), client.post(URL, json={})):
        assert answer.headers["x-request-id"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers


def test_metrics_are_for_loopback_or_by_setting(tmp_path: Path) -> None:
    """Metrics are for clients on loopback; a request that a proxy forwarded is not one of these."""
    from starlette.requests import Request

    from serving.common.metrics import is_from_loopback

    for name in (b"x-forwarded-for", b"forwarded", b"x-real-ip"):
        request = Request({"type": "http", "client": ("127.0.0.1", 1), "headers": [(name, b"203.0.113.9")]})
        assert not is_from_loopback(request), "a proxy on this machine opens the metrics to its clients"
    for host, expected in (("127.0.0.1", True), ("::1", True), ("10.0.0.8", False), ("example", False), ("", False)):
        request = Request({"type": "http", "client": (host, 1), "headers": []})
        assert is_from_loopback(request) is expected


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
    """Brackets inside strings do not count, with escapes or without."""
    assert is_too_deep(text, limit) is deep
