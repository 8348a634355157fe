"""The CSRF token of an uploaded file's form, read before the file, which is then read from its beginning."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from starlette.types import Message

from serving.console.context import Console
from serving.console.page import Page
from serving.console.sessions import Session

TOKEN = "ab" * 32
FILE = b"x;y\r\n" * 3_000


def form(*parts: tuple[str, bytes]) -> bytes:
    made = b"".join(
        b'--B\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (name.encode(), value)
        for name, value in parts
    )
    return made + b"--B--\r\n"


def read(body: bytes, size: int) -> tuple[str, bytes]:
    """The token that is found, and the body as the page reads it afterwards."""
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    messages: list[Message] = [
        {"type": "http.request", "body": chunk, "more_body": index + 1 < len(chunks)}
        for index, chunk in enumerate(chunks)
    ]

    async def receive() -> Message:
        return messages.pop(0)

    async def go() -> tuple[str, bytes]:
        scope: dict[str, Any] = {"type": "http", "method": "POST", "headers": [], "state": {}}
        session = Session("secret", "ada", frozenset(), "", datetime.now(UTC))
        console = cast(Console, type("NoConsole", (), {"clients": {}}))
        page = Page(scope, receive, console, session)
        return await page.read_csrf_part(), await page.body()

    return asyncio.run(go())


@pytest.mark.parametrize("size", [1, 7, 100, 10**6])
def test_the_first_part_is_the_token(size: int) -> None:
    """However the body arrives, nothing of it is lost."""
    body = form(("csrf", TOKEN.encode()), ("file", FILE))
    assert read(body, size) == (TOKEN, body)


@pytest.mark.parametrize(
    "body",
    [
        form(("file", FILE), ("csrf", TOKEN.encode())),  # not first: the file would have to be read before it
        form(("csrf", TOKEN.encode()[:-1]), ("file", FILE)),
        form(("file", b'--B\r\nname="csrf"\r\n\r\n' + TOKEN.encode() + b"\r\n")),  # content of a file
        b"",
        b"--B",
    ],
    ids=["not first", "short", "in a file", "empty", "broken off"],
)
def test_anything_else_has_no_token(body: bytes) -> None:
    """And is refused by the route."""
    token, again = read(body, 1_000) if body else read(b" ", 1)
    assert token == ""
    assert not body or again == body
