"""HTTP downloads from peers that are not trusted: allowed hosts, public addresses, caps on bytes and time, retries.

Every host is resolved once, checked, and connected to at the checked address, so that a second lookup cannot return
another one; redirects pass the same checks. The limits on time and bytes below HTTP are in `bounded_network`. Whatever
the peer sends, the result is a whole body or a DownloadError.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import socket
import ssl
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cache
from typing import IO, Any

import httpcore
import httpx

from accident_reco.storage.bounded_network import BoundedBackend, ExchangeLimits, TooManyBytes

Resolver = Callable[[str, int], list[str]]
MAX_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
FRAMING_BYTES = 1 << 20
# A larger body is kept on disk while it is fetched.
SPOOL_BYTES = 16 << 20
CHUNK = 1 << 20
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
class Download:
    """A complete body, rewound."""

    url: str
    stream: IO[bytes]
    sha256: str
    size: int


def spool(chunks: Iterable[bytes]) -> tuple[IO[bytes], str, int]:
    """Write chunks to a temporary stream. Returns it rewound, with sha256 and size in bytes."""
    stream: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115 - the caller closes it
    digest, size = hashlib.sha256(), 0
    try:
        for chunk in chunks:
            stream.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    except BaseException:
        stream.close()
        raise
    stream.seek(0)
    return stream, digest.hexdigest(), size


def resolve(host: str, port: int) -> list[str]:
    """Addresses of a host. Raises OSError."""
    return list({str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)})


@dataclass
class _Partial:
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
        self.stream.write(chunk)
        self.digest.update(chunk)
        self.size += len(chunk)

    def can_continue(self, url: str) -> bool:
        """Whether the rest of the body at a URL may be requested."""
        return self.size > 0 and self.url == url and self.validator != ""


@dataclass
class Downloader:
    """Fetches whole bodies.

    `allowed` are host names, reached at public addresses over https only, subdomains included; `trusted` are
    `host[:port]` of the operator, reached at any address, over http as well.
    """

    allowed: Iterable[str] = ()
    trusted: set[str] = field(default_factory=set)
    max_bytes: int = 300 << 20
    timeout_s: float = 600.0
    read_timeout_s: float = 30.0
    attempts: int = 4
    backoff_s: float = 1.0
    resolver: Resolver = resolve
    sleep: Callable[[float], None] = time.sleep
    progress: Callable[[str, int, int | None], None] | None = None

    def get(self, url: str, accept: Callable[[Download], str | None] | None = None) -> Download:
        """The body at a URL. `accept` returns the problem of a body (such as a wrong checksum), which is retried.

        Raises:
            DownloadError: not allowed, too large, too slow, not found, or failed at the last attempt.
        """
        stream: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115 - the caller closes it
        partial = _Partial(stream)
        try:
            self._fetch_with_retries(url, partial, accept)
        except BaseException:
            stream.close()
            raise
        return Download(partial.url, stream, partial.digest.hexdigest(), partial.size)

    def _fetch_with_retries(self, url: str, partial: _Partial, accept: Callable[[Download], str | None] | None) -> None:
        deadline = time.monotonic() + self.timeout_s
        reason = ""
        for attempt in range(1, self.attempts + 1):
            try:
                self._fetch(url, deadline, partial)
                partial.stream.seek(0)
                body = Download(partial.url, partial.stream, partial.digest.hexdigest(), partial.size)
                problem = accept(body) if accept is not None else None
                partial.stream.seek(0)
                if problem is None:
                    return
                partial.restart()
                raise RetryableError(problem)
            except RetryableError as error:
                reason = str(error)
                wait = error.wait if error.wait is not None else self.backoff_s * 2 ** (attempt - 1)
                if attempt == self.attempts or time.monotonic() + wait > deadline:
                    break
                self.sleep(wait)
        raise DownloadError(f"{url}: {reason} (tried {attempt} times)")

    def _fetch(self, url: str, deadline: float, partial: _Partial) -> None:
        # Headers and chunk sizes are not part of the body, but limited too.
        limits = ExchangeLimits(deadline, 2 * self.max_bytes + FRAMING_BYTES)
        try:
            for _ in range(MAX_REDIRECTS + 1):
                with self._open(url, limits, partial) as response:
                    if response.status in REDIRECTS:
                        url = _redirect_target(response, url)
                        continue
                    _prepare_body(response, url, partial)
                    for chunk in self._body(response, url, partial.size):
                        partial.write(chunk)
                    return
        except httpcore.TimeoutException:
            if limits.is_over:
                late = f"not finished after {self.timeout_s:g} s ({limits.received:,} bytes so far)"
                raise DownloadError(f"{url}: {late}") from None
            raise RetryableError(f"no response within {self.read_timeout_s:g} s") from None
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise RetryableError(f"connection failed ({error or type(error).__name__})") from None
        except TooManyBytes:
            raise DownloadError(f"{url}: more than {limits.max_bytes:,} bytes, framing included") from None
        raise DownloadError(f"{url}: more than {MAX_REDIRECTS} redirects")

    @contextmanager
    def _open(self, url: str, limits: ExchangeLimits, partial: _Partial) -> Iterator[httpcore.Response]:
        parts = _parse(url)
        backend = BoundedBackend(self._address(url, parts), limits)
        connect = min(10.0, self.read_timeout_s)
        timeout = {"connect": connect, "read": self.read_timeout_s, "write": self.read_timeout_s, "pool": connect}
        headers = [(b"Host", parts.netloc), (b"User-Agent", b"accident-reco"), (b"Accept-Encoding", b"identity")]
        if partial.can_continue(url):
            headers += [(b"Range", b"bytes=%d-" % partial.size), (b"If-Range", partial.validator.encode("latin-1"))]
        target = httpcore.URL(scheme=parts.raw_scheme, host=parts.raw_host, port=parts.port, target=parts.raw_path)
        with (
            httpcore.ConnectionPool(ssl_context=_ssl_context(), network_backend=backend) as pool,
            pool.stream("GET", target, headers=headers, extensions={"timeout": timeout}) as response,
        ):
            yield response

    def _address(self, url: str, parts: httpx.URL) -> str:
        """The address to connect to. Raises DownloadError where it is not allowed."""
        host = parts.raw_host.decode("ascii")
        if parts.scheme not in ("http", "https") or not host:
            raise DownloadError(f"{url}: only http and https addresses are followed")
        trusted = any(_parse(f"{parts.scheme}://{name}").netloc == parts.netloc for name in self.trusted)
        if not trusted:
            if parts.scheme != "https":
                raise DownloadError(f"{url}: only https is followed here")
            if not any(host == name or host.endswith("." + name) for name in self.allowed):
                raise DownloadError(f"{url}: {host} is not an allowed host ({', '.join(self.allowed) or 'none is'})")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            addresses = self.resolver(host, port)
        except OSError as error:
            raise RetryableError(f"{host} cannot be resolved ({error})") from None
        if not trusted:
            private = [address for address in addresses if not ipaddress.ip_address(address).is_global]
            if private:
                raise DownloadError(f"{url}: {host} resolves to {private[0]}, which is not a public address")
        if not addresses:
            raise RetryableError(f"{host} has no address")
        return sorted(addresses, key=lambda address: ":" in address)[0]

    def _body(self, response: httpcore.Response, url: str, start: int) -> Iterator[bytes]:
        # Always a number: the HTTP parser rejects any other length.
        announced = _header(response, "content-length")
        expected = start + int(announced) if announced else None
        if expected is not None and expected > self.max_bytes:
            raise DownloadError(f"{url}: {expected:,} bytes announced, the cap is {self.max_bytes:,}")
        size = start
        for chunk in _decoded(response, url):
            size += len(chunk)
            if size > self.max_bytes:
                raise DownloadError(f"{url}: more than {self.max_bytes:,} bytes, the cap")
            if self.progress is not None:
                self.progress(url, size, expected)
            yield chunk


@cache
def _ssl_context() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)


def _parse(url: str) -> httpx.URL:
    """A parsed URL, host in ASCII. Raises DownloadError."""
    try:
        parts = httpx.URL(url)
        parts.raw_host.decode("ascii").encode("idna")  # rejects empty and too long labels
    except (httpx.InvalidURL, UnicodeError) as error:
        raise DownloadError(f"{url!r} is not a valid address ({error})") from None
    if parts.port is not None and not 0 < parts.port < 65536:
        raise DownloadError(f"{url}: {parts.port} is not a valid port (1 to 65535)")
    return parts


def _header(response: httpcore.Response, name: str) -> str:
    """The first header of a name; '' where there is none."""
    values = (value for key, value in response.headers if key.lower() == name.encode())
    return next(values, b"").decode("utf-8", "replace").strip()


def _redirect_target(response: httpcore.Response, url: str) -> str:
    location = _header(response, "location")
    if not location:
        raise DownloadError(f"{url}: answered {response.status} without a Location")
    try:
        return str(httpx.URL(url).join(location))
    except (httpx.InvalidURL, UnicodeError) as error:
        raise DownloadError(f"{url}: redirects to {location!r}, which is not a valid address ({error})") from None


def _decoded(response: httpcore.Response, url: str) -> Iterator[bytes]:
    """The body in chunks, without the gzip encoding that some servers apply although identity is requested."""
    encoding = _header(response, "content-encoding").lower()
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


def _prepare_body(response: httpcore.Response, url: str, partial: _Partial) -> None:
    """Check the status; continue the partial body where the response does, and restart it where it does not.

    Raises:
        DownloadError, RetryableError: the response has no body that is wanted.
    """
    if partial.can_continue(url) and response.status in (206, 416):
        begins = _header(response, "content-range").startswith(f"bytes {partial.size}-")
        if response.status == 206 and begins and not _header(response, "content-encoding"):
            return
        partial.restart()
        raise RetryableError(f"the rest of the body was requested, answered was {response.status} with another part")
    _raise_for_status(response, url)
    tag, modified = _header(response, "etag"), _header(response, "last-modified")
    validator = tag if tag and not tag.startswith("W/") else modified
    partial.restart(url, "" if _header(response, "content-encoding") else validator)


def _raise_for_status(response: httpcore.Response, url: str) -> None:
    code = response.status
    if code == 429 or code >= 500:
        raise RetryableError(f"answered {code}", _parse_retry_after(_header(response, "retry-after")))
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


def find_web_page(body: Download) -> str | None:
    """`a web page (its title) instead of a file` for a body that is HTML; None for others. The stream is rewound."""
    start = body.stream.read(4096)
    body.stream.seek(0)
    text = start.decode("utf-8", "replace").lstrip("\ufeff \r\n\t")
    if not re.match(r"<(!doctype html|html|head|body)", text, re.IGNORECASE):
        return None
    title = re.search(r"<title[^>]*>\s*(.{1,80}?)\s*</title>", text, re.IGNORECASE | re.DOTALL)
    return f"a web page ({title[1] if title else 'without a title'}) instead of a file"
