"""Runs a service as a process: one clear line where it cannot start, a quick and orderly stop on a signal."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import socket
import sys
import threading
from typing import Final
from weakref import WeakKeyDictionary

import uvicorn
from httptools import HttpParserError
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from accident_reco.log_lines import report_crashes, report_failure
from accident_reco.settings import Settings, SettingsError
from serving.common.connections import ConnectionLimits, ConnectionTable
from serving.common.draining import ignore_new_connections
from serving.common.joined_writes import JoinedWrites
from serving.common.middleware import BODY_ARRIVED
from serving.common.problems import problem_response
from serving.common.unread_timeout import UnreadTimeout, set_unread_timeout

HEADER_SECONDS: Final = 10.0
# Answered also while too many requests are in progress: an orchestrator must not restart a service for its load.
PROBES: Final = frozenset({b"/livez", b"/readyz", b"/metrics"})
# A connection whose client does not read its response for so long is closed, keep-alive or not; see `UnreadTimeout`.
UNREAD_SECONDS: Final = 30
HEADER_BYTES: Final = 32 * 1024
# Time for running requests to end after the signal to stop (a launcher gives up after 10 s).
GRACEFUL_SECONDS: Final = 6
# Longest time for which a background thread keeps the interpreter from the requests.
SWITCH_SECONDS: Final = 0.0005


class GuardedHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits on the time and size of a request's head, and problem+json error responses."""

    _head_timer: asyncio.TimerHandle | None = None
    _unread: UnreadTimeout | None = None
    _head_bytes = 0

    @property
    def is_fresh(self) -> bool:
        """Whether no request has begun on this connection."""
        return self.cycle is None

    @property
    def is_idle(self) -> bool:
        """Whether no request is in progress on this connection."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # The peer itself: `client` follows a proxy's header, which any client of an untrusted one could write.
        self._address = self.client[0] if self.client else ""
        self._table = _get_table(self.server_state, self.config)
        self._head_timer = self.loop.call_later(HEADER_SECONDS, self._close_slow_head)
        if not self._table.add(self, self._address):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timer()
        if self._unread is not None:
            self._unread.cancel()
        self._table.remove(self, self._address)
        super().connection_lost(exc)

    def close_idle(self) -> None:
        """Close the connection to make room."""
        self._cancel_timer()
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        if self._head_timer is None and (self.cycle is None or self.cycle.response_complete):
            self._head_timer = self.loop.call_later(HEADER_SECONDS, self._close_slow_head)
        super().data_received(data)
        if self._unread is None and self._is_receiving():
            self._unread = UnreadTimeout(
                self.transport, self.loop, self._is_receiving, self._forget_unread, UNREAD_SECONDS
            )

    def _is_receiving(self) -> bool:
        """Whether the client is still sending a body whose request is being handled."""
        cycle = self.cycle
        return (
            cycle is not None
            and cycle.more_body
            and not cycle.disconnected
            and not cycle.response_complete
            and not self.transport.is_closing()
        )

    def _forget_unread(self) -> None:
        self._unread = None

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._cancel_timer()
        is_admitted = self._table.begin(self, self._address) or self.url.partition(b"?")[0] in PROBES
        app = self.app
        if not is_admitted:
            self.app = _refuse_request
        super().on_headers_complete()
        self.app = app
        if self.cycle is not None:
            self.cycle.transport = JoinedWrites(self.transport)  # type: ignore[assignment]

    def on_message_complete(self) -> None:
        super().on_message_complete()
        # Of most requests it arrives with the head: then no wait for it has to be limited.
        self.scope["state"][BODY_ARRIVED] = True

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.is_idle:  # else the next request of a pipeline has begun
            self._table.end(self, self._address)

    def send_400_response(self, msg: str) -> None:
        status, title = (
            (431, b"Request Header Fields Too Large") if self._head_bytes > HEADER_BYTES else (400, b"Bad Request")
        )
        body = b'{"type":"about:blank","title":"%b","status":%d}' % (title, status)
        self.transport.write(
            b"HTTP/1.1 %d %b\r\ncontent-type: application/problem+json\r\n" % (status, title)
            + b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(body), body)
        )
        self.transport.close()

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > HEADER_BYTES:
            raise HttpParserError("request head too large")

    def _cancel_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _close_slow_head(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


# One for each server of this process, of which tests have several.
_TABLES: Final[WeakKeyDictionary[ServerState, ConnectionTable]] = WeakKeyDictionary()


def _get_table(state: ServerState, config: uvicorn.Config) -> ConnectionTable:
    table = _TABLES.get(state)
    if table is None:
        limits = config.connection_limits if isinstance(config, ServiceConfig) else ConnectionLimits()
        table = _TABLES[state] = ConnectionTable(limits)
    return table


class ServiceConfig(uvicorn.Config):
    """uvicorn's configuration with the limits of connections; workers receive it pickled."""

    connection_limits = ConnectionLimits()

    def load(self) -> None:
        """Load the app, in the process that serves it."""
        # A request that becomes ready while the log's thread works waits for so long; Python's default is 5 ms.
        sys.setswitchinterval(SWITCH_SECONDS)
        super().load()


async def _refuse_request(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer in place of the app where too many requests are in progress."""
    detail = "Too many requests are in progress; retry later."
    headers = {"Retry-After": "1", "Connection": "close"}
    await problem_response(scope, 503, detail, kind="overloaded", headers=headers)(scope, receive, send)


def run_program(service: str) -> int:
    """`python -m serving.<service>`, a program without arguments; returns the exit code."""
    about = f"The {service} service. It runs until a signal stops it; its settings are environment variables."
    argparse.ArgumentParser(prog=f"python -m serving.{service}", description=about).parse_args()
    return serve(service, f"serving.{service}.app:create_process_app", f"{service}_port")


def serve(service: str, factory: str, port_setting: str) -> int:
    """Run the app that `factory` ("module:function" without arguments) returns; returns the exit code.

    Args:
        service: name of the service, in messages.
        port_setting: field of the settings that holds the port.
    """
    report_crashes(service)
    try:
        settings = Settings.load()
    except SettingsError as error:
        return _fail(service, str(error))
    port = getattr(settings, port_setting)
    try:
        listener = _listen(settings.host, port)
    except OSError as error:
        variable = f"ACCIDENT_RECO_{port_setting.upper()}"
        return _fail(service, f"{service}: cannot listen on {settings.host}:{port}: {error.strerror}; set {variable}")
    if settings.http_workers > 1:
        _prepare_shared_metrics(settings, service)
    config = ServiceConfig(
        factory,
        factory=True,
        http=GuardedHttpProtocol,
        loop="uvloop",
        ws="none",
        workers=settings.http_workers,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
        backlog=2048,
    )
    config.connection_limits = ConnectionLimits(
        settings.max_connections,
        min(settings.max_connections_per_address, settings.max_connections),
        frozenset(address.strip() for address in settings.trusted_proxies.split(",") if address.strip()),
    )
    _run(config, listener, settings.drain_seconds)
    return 0


def _run(config: uvicorn.Config, listener: socket.socket, drain_seconds: float) -> None:
    if config.workers > 1:
        from uvicorn.supervisors import Multiprocess

        class Workers(Multiprocess):
            """Holds the listener, which the workers share, until they have ended."""

            def terminate_all(self) -> None:
                threading.Timer(drain_seconds, ignore_new_connections, [[listener]]).start()
                super().terminate_all()

        Workers(config, [listener]).run()
        return
    # uvicorn stops in order and then raises the signal again; an orderly stop must exit with 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    uvicorn.Server(config).run([listener])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Allows to rebind a port with connections in TIME_WAIT, not one that is in use.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Inherited by connections. uvicorn's own close would wait forever for an unread response.
        set_unread_timeout(listener, UNREAD_SECONDS)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    listener.set_inheritable(True)
    return listener


def _prepare_shared_metrics(settings: Settings, service: str) -> None:
    from serving.common.app import get_metrics_directory

    directory = get_metrics_directory(settings, service)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    # Read by prometheus_client when the workers import it; not a setting of the platform.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)


def _fail(service: str, message: str) -> int:
    report_failure(service, message)
    return 2
