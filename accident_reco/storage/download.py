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
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import IO

import httpcore
import httpx

from accident_reco.storage.bounded_network import BoundedBackend, ExchangeLimits, TooManyBytes
from accident_reco.storage.http_responses import (
    CHUNK,
    REDIRECTS,
    DownloadError,
    Partial,
    RetryableError,
    decoded,
    header,
    prepare_body,
    redirect_target,
)

__all__ = ["CHUNK", "Download", "DownloadError", "Downloader", "RetryableError", "find_web_page", "spool"]

Resolver = Callable[[str, int], list[str]]
MAX_REDIRECTS = 5
FRAMING_BYTES = 1 << 20
# A larger body is kept on disk while it is fetched.
SPOOL_BYTES = 16 << 20


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
        partial = Partial(stream)
        try:
            self._fetch_with_retries(url, partial, accept)
        except BaseException:
            stream.close()
            raise
        return Download(partial.url, stream, partial.digest.hexdigest(), partial.size)

    def _fetch_with_retries(self, url: str, partial: Partial, accept: Callable[[Download], str | None] | None) -> None:
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

    def _fetch(self, url: str, deadline: float, partial: Partial) -> None:
        # Headers and chunk sizes are not part of the body, but limited too.
        limits = ExchangeLimits(deadline, 2 * self.max_bytes + FRAMING_BYTES)
        try:
            for _ in range(MAX_REDIRECTS + 1):
                with self._open(url, limits, partial) as response:
                    if response.status in REDIRECTS:
                        url = redirect_target(response, url)
                        continue
                    prepare_body(response, url, partial)
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
    def _open(self, url: str, limits: ExchangeLimits, partial: Partial) -> Iterator[httpcore.Response]:
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
        announced = header(response, "content-length")
        expected = start + int(announced) if announced else None
        if expected is not None and expected > self.max_bytes:
            raise DownloadError(f"{url}: {expected:,} bytes announced, the cap is {self.max_bytes:,}")
        size = start
        for chunk in decoded(response, url):
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


def find_web_page(body: Download) -> str | None:
    """`a web page (its title) instead of a file` for a body that is HTML; None for others. The stream is rewound."""
    start = body.stream.read(4096)
    body.stream.seek(0)
    text = start.decode("utf-8", "replace").lstrip("\ufeff \r\n\t")
    if not re.match(r"<(!doctype html|html|head|body)", text, re.IGNORECASE):
        return None
    title = re.search(r"<title[^>]*>\s*(.{1,80}?)\s*</title>", text, re.IGNORECASE | re.DOTALL)
    return f"a web page ({title[1] if title else 'without a title'}) instead of a file"
