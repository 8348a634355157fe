"""Which requests to a page of Dagster or MLflow are refused, and why. Pure; login is in `login`.

Both programs trust whoever reaches their port. A web page on the internet reaches it through the browser of whoever has
it open, so everything that a browser attaches to such a request is checked: host, origin, and the kind of request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# Media types that a page may send to any address without asking it first (Fetch standard, "CORS-safelisted").
_SIMPLE_TYPES: Final = frozenset({"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"})
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
# MLflow's pages read by POST, too: the last part of such a path begins with one of these.
_READS: Final = ("search", "get", "list", "graphql", "query")


@dataclass(frozen=True)
class PagePolicy:
    """What one program's pages accept.

    Args:
        program: decides which POST requests only read, and which media types are needed.
        hosts: names under which browsers may reach it, without ports.
        open_paths: paths for probes, answered under any name.
        read_only: whether browsers may only read.
    """

    program: Literal["dagster", "mlflow"]
    hosts: frozenset[str]
    open_paths: frozenset[str]
    read_only: bool = False


@dataclass(frozen=True)
class PageRequest:
    """The parts of a request that decide. Header names are in lower case; absent headers are absent."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    is_websocket: bool = False

    @property
    def is_from_browser(self) -> bool:
        """Whether a browser's page sent it: current browsers always say so, and no page can prevent it."""
        return "origin" in self.headers or any(name.startswith("sec-fetch-") for name in self.headers)

    @property
    def is_navigation(self) -> bool:
        """Whether a person opened a link or typed an address."""
        return self.method == "GET" and "text/html" in self.headers.get("accept", "")

    @property
    def media_type(self) -> str:
        """Media type of the body, in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True)
class Refusal:
    """Status and reason of a refused request."""

    status: int
    reason: str


def find_refusal(request: PageRequest, policy: PagePolicy) -> Refusal | None:
    """The reason to refuse a request; None where it is passed on."""
    if request.path in policy.open_paths and request.method in SAFE_METHODS and not request.is_websocket:
        return None
    return (
        _check_host(request, policy)
        or _check_origin(request)
        or _check_fetch(request)
        or (None if request.is_websocket else _check_method(request, policy))
    )


def split_host(value: str) -> tuple[str, int | None]:
    """Name and port of a Host header, in lower case; the name is empty where the header is invalid."""
    try:
        parts = urlsplit(f"//{value.strip().lower()}")
        name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else (parts.hostname or "")
        return ("", None) if parts.username or parts.path else (name, parts.port)
    except ValueError:
        return "", None


def _check_host(request: PageRequest, policy: PagePolicy) -> Refusal | None:
    name, _ = split_host(request.headers.get("host", ""))
    if name and name in policy.hosts:
        return None
    # Otherwise a page whose name resolves to this address would be of the same origin.
    return Refusal(403, "This page is not served under that host name; ACCIDENT_RECO_PAGE_HOSTS allows others.")


def _check_origin(request: PageRequest) -> Refusal | None:
    origin = request.headers.get("origin")
    if origin is None:
        return None
    parts = urlsplit(origin.lower()) if "://" in origin else None
    if parts is not None and parts.scheme in _DEFAULT_PORTS:
        default = _DEFAULT_PORTS[parts.scheme]
        name, port = split_host(parts.netloc)
        own_name, own_port = split_host(request.headers.get("host", ""))
        if name and (name, port or default) == (own_name, own_port or default):
            return None
    return Refusal(403, "Requests of other pages are refused.")


def _check_fetch(request: PageRequest) -> Refusal | None:
    """`same-site` is refused too: every port of a machine is of the same site."""
    if request.headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
        return None
    is_link = (
        request.headers.get("sec-fetch-mode") == "navigate" and request.headers.get("sec-fetch-dest") == "document"
    )
    if request.is_navigation and is_link:
        return None
    return Refusal(403, "Requests of other pages are refused.")


def _check_method(request: PageRequest, policy: PagePolicy) -> Refusal | None:
    last = request.path.rstrip("/").rpartition("/")[2]
    if request.method in SAFE_METHODS:
        if last == "graphql" and request.query and not request.is_navigation:
            return Refusal(405, "Send GraphQL operations by POST.")
        return None
    if request.method == "POST":
        if policy.program == "dagster" and request.media_type != "application/json":
            return Refusal(415, "Send JSON, with Content-Type: application/json.")
        if request.media_type in _SIMPLE_TYPES:
            return Refusal(415, "Send a Content-Type that no form has, such as application/json.")
    if not policy.read_only:
        return None
    if policy.program == "dagster":
        # The web server itself refuses mutations, field by field.
        is_read = request.method == "POST" and last == "graphql"
    else:
        # Trainings log through the same port, and are no browsers.
        is_read = not request.is_from_browser or (request.method == "POST" and last.startswith(_READS))
    return None if is_read else Refusal(403, "These pages are read-only (ACCIDENT_RECO_PAGE_READ_ONLY).")
