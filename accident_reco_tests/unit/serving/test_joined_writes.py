"""A response's head is sent with its body, and never lost or changed."""

from __future__ import annotations

import pytest

from serving.common.joined_writes import JOINED_BYTES, JoinedWrites

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Transport:
    """What was written, and whether it is closed."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed_after: int | None = None

    def write(self, data: bytes) -> None:
        assert self.closed_after is None
        self.sent.append(data)

    def close(self) -> None:
        self.closed_after = len(self.sent)

    def is_closing(self) -> bool:
        return self.closed_after is not None


@pytest.mark.parametrize(
    ("writes", "sent"),
    [
        ([HEAD, b"body"], [HEAD + b"body"]),
        ([HEAD, b"bo", b"dy"], [HEAD + b"bo", b"dy"]),
        ([HEAD, b""], [HEAD]),  # the response to HEAD, and an empty one
        ([CONTINUE, HEAD, b"body"], [CONTINUE, HEAD + b"body"]),
        ([HEAD, memoryview(b"bo"), memoryview(b"dy")], [HEAD + b"bo", b"dy"]),
        ([HEAD, b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n"], [HEAD + HEAD.replace(b"4", b"1")]),
        ([HEAD, b"", HEAD], [HEAD, HEAD]),  # whatever a body looks like
        ([HEAD, b"x" * (JOINED_BYTES + 1)], [HEAD, b"x" * (JOINED_BYTES + 1)]),
        # A stream may wait for its first part, and a client for the head.
        ([CHUNKED, b"4\r\nbody\r\n"], [CHUNKED, b"4\r\nbody\r\n"]),
    ],
)
def test_what_is_sent(writes: list[bytes], sent: list[bytes]) -> None:
    """All of it, in order; a head of known length with the first part."""
    transport = Transport()
    joined = JoinedWrites(transport)
    for data in writes:
        joined.write(data)
    assert transport.sent == sent


def test_a_response_that_breaks_off() -> None:
    """What was kept is sent before the connection is closed, as without keeping it."""
    transport = Transport()
    joined = JoinedWrites(transport)
    joined.write(HEAD)
    joined.close()
    assert (transport.sent, transport.closed_after) == ([HEAD], 1)
    assert joined.is_closing()
