"""Responses of HTTP servers that are not trusted: statuses, redirects, and bodies that are continued after a break."""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import IO, Any

import httpcore
import httpx

CHUNK = 1 << 20
REDIRECTS = (301, 302, 303, 307, 308)
MAX_WAIT_S = 60.0
"""Longest wait before another attempt, whatever the server requests."""


class DownloadError(RuntimeError):
    """The download failed; the message names the address, the cause and the number of attempts."""


class RetryableError(Exception):
    """Another attempt may succeed; `wait` is the delay before it in seconds, where the peer requested one."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass
class Partial:
    """What has arrived of a body, kept when the connection breaks, so that the next attempt requests the rest.

    `validator` is the entity tag or the time that the server gave for the body: only the same body is continued.
    """

    stream: IO[bytes]
    digest: Any = field(default_factory=hashlib.sha256)
    size: int = 0
    url: str = ""
    validator: str = ""

    def restart(self, url: str = "", validator: str = "") -> None:
        """Forget what has arrived."""
        self.stream.seek(0)
        self.stream.truncate()
        self.digest, self.size, self.url, self.validator = hashlib.sha256(), 0, url, validator

    def write(self, chunk: bytes) -> None:
        """Append to the body."""
        self.stream.write(chunk)
        self.digest.update(chunk)
        self.size += len(chunk)

    def can_continue(self, url: str) -> bool:
        """Whether the rest of the body at a URL may be requested."""
        return self.size > 0 and self.url == url and self.validator != ""


def header(response: httpcore.Response, name: str) -> str:
    """The first header of a name; '' where there is none."""
    values = (value for key, value in response.headers if key.lower() == name.encode())
    return next(values, b"").decode("utf-8", "replace").strip()


def redirect_target(response: httpcore.Response, url: str) -> str:
    location = header(response, "location")
    if not location:
        raise DownloadError(f"{url}: answered {response.status} without a Location")
    try:
        return str(httpx.URL(url).join(location))
    except (httpx.InvalidURL, UnicodeError) as error:
        raise DownloadError(f"{url}: redirects to {location!r}, which is not a valid address ({error})") from None


def decoded(response: httpcore.Response, url: str) -> Iterator[bytes]:
    """The body in chunks, without the gzip encoding that some servers apply although identity is requested."""
    encoding = header(response, "content-encoding").lower()
    if encoding in ("", "identity"):
        yield from response.iter_stream()
        return
    if encoding not in ("gzip", "x-gzip"):
        raise DownloadError(f"{url}: answered with Content-Encoding {encoding!r}, requested was identity")
    decoder = zlib.decompressobj(wbits=31)
    try:
        for received in response.iter_stream():
            rest = received
            while rest:
                if decoder.eof:
                    decoder = zlib.decompressobj(wbits=31)
                yield decoder.decompress(rest, CHUNK)
                rest = decoder.unconsumed_tail or decoder.unused_data
        yield decoder.flush()
    except zlib.error as error:
        raise RetryableError(f"the gzip encoding is damaged ({error})") from None
    if not decoder.eof:
        raise RetryableError("the gzip encoding ends early")


def prepare_body(response: httpcore.Response, url: str, partial: Partial) -> None:
    """Check the status; continue the partial body where the response does, and restart it where it does not.

    Raises:
        DownloadError, RetryableError: the response has no body that is wanted.
    """
    if partial.can_continue(url) and response.status in (206, 416):
        begins = header(response, "content-range").startswith(f"bytes {partial.size}-")
        if response.status == 206 and begins and not header(response, "content-encoding"):
            return
        partial.restart()
        raise RetryableError(f"the rest of the body was requested, answered was {response.status} with another part")
    raise_for_status(response, url)
    tag, modified = header(response, "etag"), header(response, "last-modified")
    validator = tag if tag and not tag.startswith("W/") else modified
    partial.restart(url, "" if header(response, "content-encoding") else validator)


def raise_for_status(response: httpcore.Response, url: str) -> None:
    code = response.status
    if code == 429 or code >= 500:
        raise RetryableError(f"answered {code}", _parse_retry_after(header(response, "retry-after")))
    if code != 200:
        raise DownloadError(f"{url}: answered {code}")


def _parse_retry_after(value: str) -> float | None:
    """Seconds of a Retry-After header, at most `MAX_WAIT_S`: a number, or a date."""
    if value.isascii() and value.isdecimal():
        return min(float(value), MAX_WAIT_S)
    try:
        at = parsedate_to_datetime(value)
        return min(max(at.timestamp() - time.time(), 0.0), MAX_WAIT_S)
    except (TypeError, ValueError, OverflowError):
        return None
