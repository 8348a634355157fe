"""A client for all sides: keep-alive connections on loopback, one request in flight on each, one thread.

One process without threads, so that it takes little of the cores that it measures: about 15 µs a request.
"""

from __future__ import annotations

import json
import select
import socket
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle

TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class Target:
    """Requests that are sent again and again, one after the other.

    Args:
        contents: head and body of each, as bytes.
    """

    port: int
    contents: tuple[bytes, ...]

    @classmethod
    def post(cls, port: int, path: str, body: object, headers: Mapping[str, str] | None = None) -> Target:
        """A JSON request with keep-alive."""
        content = json.dumps(body, separators=(",", ":")).encode()
        lines = {
            "host": "127.0.0.1",
            "content-type": "application/json",
            "content-length": str(len(content)),
            **(headers or {}),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return cls(port, (f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + content,))


@dataclass(frozen=True)
class Load:
    """Requests per second, and quantiles of the time from sending to the last byte, in milliseconds."""

    rate: float
    p50: float
    p95: float
    p99: float


class ResponseError(Exception):
    """An answer that is not 200, or none."""


def is_complete(answer: bytes) -> bool:
    """Whether bytes hold a whole answer. Raises ResponseError for another status than 200."""
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    if not head.startswith(b"HTTP/1.1 200"):
        raise ResponseError(answer[:600].decode(errors="replace"))
    lowered = head.lower()
    _, stated, rest = lowered.partition(b"content-length:")
    if stated:
        return len(body) >= int(rest.split(b"\r\n", 1)[0])
    return b"chunked" in lowered and body.endswith(b"0\r\n\r\n")


def apply_load(target: Target, connections: int, seconds: float, warm_up: float = 0.2) -> Load:
    """Send for `seconds` after a warm-up that does not count.

    Raises:
        ResponseError: an answer is not 200, or the server closed a connection.
    """
    poll, sockets, contents = select.epoll(), {}, cycle(target.contents)
    try:
        for _ in range(connections):
            connection = socket.create_connection(("127.0.0.1", target.port), timeout=TIMEOUT_SECONDS)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sockets[connection.fileno()] = connection
            poll.register(connection.fileno(), select.EPOLLIN)
        received = dict.fromkeys(sockets, b"")
        times: list[float] = []
        begin = time.perf_counter() + warm_up
        end, sent = begin + seconds, {}
        for number, connection in sockets.items():
            sent[number] = time.perf_counter()
            connection.sendall(next(contents))
        while sent:
            ready = poll.poll(TIMEOUT_SECONDS)
            if not ready:
                raise ResponseError(f"no answer within {TIMEOUT_SECONDS:.0f} s")
            for number, _ in ready:
                part = sockets[number].recv(1 << 18)
                if not part:
                    raise ResponseError("the server closed a connection")
                received[number] += part
                if not is_complete(received[number]):
                    continue
                now = time.perf_counter()
                if sent[number] >= begin:
                    times.append((now - sent[number]) * 1000)
                received[number] = b""
                if now < end:
                    sent[number] = now
                    sockets[number].sendall(next(contents))
                else:
                    del sent[number]
        elapsed = time.perf_counter() - begin
    finally:
        poll.close()
        for connection in sockets.values():
            connection.close()
    if len(times) < 2:
        raise ResponseError(f"{len(times)} answers in {seconds:g} s")
    cuts = statistics.quantiles(times, n=100)
    return Load(len(times) / elapsed, statistics.median(times), cuts[94], cuts[98])
