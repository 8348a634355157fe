"""HTTP downloads that nobody can turn against us: allowed hosts, public addresses, caps on bytes and time, retries.

Every address is resolved once, checked, and connected to as resolved, so that a name cannot change its mind between the
check and the connection; every redirect goes through the same door.
"""

from __future__ import annotations

import hashlib
import ipaddress
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO
from urllib.parse import urljoin, urlsplit

import httpx

Resolver = Callable[[str, int], list[str]]
MAX_REDIRECTS = 5
# Kept in memory up to here while it is fetched, on disk beyond.
SPOOL_BYTES = 16 << 20
CHUNK = 1 << 20


class DownloadError(RuntimeError):
    """The download failed for good; the message names the address, what happened, and how often it was tried."""


class _Again(Exception):
    """Worth another try."""

    def __init__(self, why: str, wait: float | None = None) -> None:
        super().__init__(why)
        self.wait = wait


@dataclass
class Download:
    """A complete body, rewound."""

    url: str
    stream: IO[bytes]
    sha256: str
    size: int


def spool(chunks: Iterable[bytes]) -> tuple[IO[bytes], str, int]:
    """Chunks as a rewound stream, with their sha256 and size."""
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

    `allowed` are host names that may be reached at public addresses over https (their subdomains too); `trusted` are
    `host[:port]` that the operator named, reached wherever they are, over http as well.
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
        """The body at a URL. `accept` may tell what is wrong with a body (a checksum), which is worth another try.

        Raises:
            DownloadError: refused, too large, too slow, not found, or still failing after the last attempt.
        """
        deadline = time.monotonic() + self.timeout_s
        why = ""
        for attempt in range(1, self.attempts + 1):
            try:
                got = self._once(url, deadline)
                wrong = accept(got) if accept is not None else None
                if wrong is None:
                    return got
                got.stream.close()
                raise _Again(wrong)
            except _Again as error:
                why = str(error)
                wait = error.wait if error.wait is not None else self.backoff_s * 2 ** (attempt - 1)
                if attempt == self.attempts or time.monotonic() + wait > deadline:
                    break
                self.sleep(wait)
        raise DownloadError(f"{url}: {why} (tried {attempt} times)")

    def _once(self, url: str, deadline: float) -> Download:
        for _ in range(MAX_REDIRECTS + 1):
            with self._open(url) as response:
                if response.is_redirect:
                    url = urljoin(url, response.headers["location"])
                    continue
                _raise_for_status(response, url)
                stream, sha256, size = spool(self._body(response, url, deadline))
                return Download(url, stream, sha256, size)
        raise DownloadError(f"{url}: more than {MAX_REDIRECTS} redirects")

    @contextmanager
    def _open(self, url: str) -> Iterator[httpx.Response]:
        parts = urlsplit(url)
        address = self._address(url)
        literal = f"[{address}]" if ":" in address else address
        target = parts._replace(netloc=f"{literal}:{parts.port}" if parts.port else literal).geturl()
        timeout = httpx.Timeout(self.read_timeout_s, connect=min(10.0, self.read_timeout_s))
        try:
            with (
                httpx.Client(timeout=timeout, trust_env=False) as client,
                client.stream(
                    "GET",
                    target,
                    headers={
                        "Host": parts.netloc.rpartition("@")[2],
                        "User-Agent": "accident-reco",
                        "Accept-Encoding": "identity",
                    },
                    extensions={"sni_hostname": parts.hostname or ""},
                ) as response,
            ):
                yield response
        except httpx.TimeoutException:
            raise _Again(f"no answer within {self.read_timeout_s:g} s") from None
        except httpx.TransportError as error:
            raise _Again(f"connection failed ({error or type(error).__name__})") from None

    def _address(self, url: str) -> str:
        """The address to connect to; refuses what is not allowed."""
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        if parts.scheme not in ("http", "https") or not host:
            raise DownloadError(f"{url}: only http and https addresses are followed")
        trusted = parts.netloc.lower() in {name.lower() for name in self.trusted}
        if not trusted:
            if parts.scheme != "https":
                raise DownloadError(f"{url}: only https is followed here")
            if not any(host == name or host.endswith("." + name) for name in self.allowed):
                raise DownloadError(f"{url}: {host} is not an allowed host ({', '.join(self.allowed) or 'none is'})")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            addresses = self.resolver(host, port)
        except OSError as error:
            raise _Again(f"{host} cannot be resolved ({error})") from None
        if not trusted:
            private = [address for address in addresses if not ipaddress.ip_address(address).is_global]
            if private:
                raise DownloadError(f"{url}: {host} resolves to {private[0]}, which is not a public address")
        if not addresses:
            raise _Again(f"{host} has no address")
        return sorted(addresses, key=lambda address: ":" in address)[0]

    def _body(self, response: httpx.Response, url: str, deadline: float) -> Iterator[bytes]:
        announced = response.headers.get("content-length", "")
        expected = int(announced) if announced.isdigit() else None
        if expected is not None and expected > self.max_bytes:
            raise DownloadError(f"{url}: {expected:,} bytes announced, the cap is {self.max_bytes:,}")
        size = 0
        # As it arrives: a chunk size would wait for a full chunk, and a dripping server would outlive the deadline.
        for chunk in response.iter_raw():
            size += len(chunk)
            if size > self.max_bytes:
                raise DownloadError(f"{url}: more than {self.max_bytes:,} bytes, the cap")
            if time.monotonic() > deadline:
                raise DownloadError(f"{url}: not finished after {self.timeout_s:g} s ({size:,} bytes so far)")
            if self.progress is not None:
                self.progress(url, size, expected)
            yield chunk


def _raise_for_status(response: httpx.Response, url: str) -> None:
    code = response.status_code
    if code == 429 or code >= 500:
        retry = response.headers.get("retry-after", "")
        raise _Again(f"answered {code}", min(float(retry), 60.0) if retry.isdigit() else None)
    if code != 200:
        raise DownloadError(f"{url}: answered {code}")
