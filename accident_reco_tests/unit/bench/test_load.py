"""The client of all comparisons, against a real server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from accident_reco_tests.bench.load import ResponseError, Target, apply_load, is_complete


class Handler(BaseHTTPRequestHandler):
    """Answers with the path's status; `/chunked` in chunks."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(int(self.path[1:4]) if self.path[1:4].isdigit() else 200)
        if self.path == "/chunked":
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"2\r\nok\r\n0\r\n\r\n")
        else:
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """No log."""


@pytest.fixture
def port() -> Iterator[int]:
    """Port of a server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize("path", ["/200", "/chunked"])
def test_load_counts_whole_answers(port: int, path: str) -> None:
    """Several connections, answers with and without a length."""
    load = apply_load(Target.post(port, path, {"a": 1}), connections=3, seconds=0.2, warm_up=0)
    assert load.rate > 0
    assert 0 < load.p50 <= load.p95 <= load.p99


def test_other_status_ends_the_measurement(port: int) -> None:
    """A rejected request is no throughput."""
    with pytest.raises(ResponseError, match="401"):
        apply_load(Target.post(port, "/401", {}), connections=1, seconds=0.2)


@pytest.mark.parametrize(
    ("answer", "complete"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-le", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", True),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n", False),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", True),
    ],
)
def test_answer_is_read_to_its_end(answer: bytes, complete: bool) -> None:
    """Whatever the parts in which it arrives."""
    assert is_complete(answer) is complete
