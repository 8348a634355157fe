"""Runs a service as a process: one clear line when it cannot start, a quick and orderly stop when asked."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
from typing import Final

import uvicorn
from httptools import HttpParserError
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from accident_reco.settings import Settings, SettingsError

HEADER_SECONDS: Final = 10.0
# A client that takes nothing of its answer for so long is gone, whatever it says to keep the connection.
UNREAD_SECONDS: Final = 30
HEADER_BYTES: Final = 32 * 1024
# Requests under way when the process is asked to stop have this long to end (a launcher gives up after 10 s).
GRACEFUL_SECONDS: Final = 6


class GuardedHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol with what it leaves open: time and size of a request's head, and problem+json refusals."""

    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEADER_SECONDS, self._head_too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._head_timer is None and (self.cycle is None or self.cycle.response_complete):
            self._head_timer = self.loop.call_later(HEADER_SECONDS, self._head_too_slow)
        super().data_received(data)

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._stop_timer()
        super().on_headers_complete()

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

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > HEADER_BYTES:
            raise HttpParserError("request head too large")

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_too_slow(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


def serve(service: str, factory: str, port_setting: str) -> int:
    """Run the app that `factory` ("module:function" without arguments) makes; the process's exit code."""
    try:
        settings = Settings.load()
    except SettingsError as error:
        return _refuse(str(error))
    port = getattr(settings, port_setting)
    try:
        listener = _listen(settings.host, port)
    except OSError as error:
        variable = f"ACCIDENT_RECO_{port_setting.upper()}"
        return _refuse(f"{service}: cannot listen on {settings.host}:{port}: {error.strerror}; set {variable}")
    if settings.http_workers > 1:
        _prepare_shared_metrics(settings, service)
    config = uvicorn.Config(
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
        limit_concurrency=settings.max_connections,
    )
    _run(config, listener)
    return 0


def _run(config: uvicorn.Config, listener: socket.socket) -> None:
    if config.workers > 1:
        from uvicorn.supervisors import Multiprocess

        Multiprocess(config, [listener]).run()
        return
    # uvicorn stops in order and then raises the signal again: an orderly stop is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    uvicorn.Server(config).run([listener])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Rebinding a port whose last connections are only just closed is fine; stealing a live one is not.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit it. uvicorn's own close would wait for ever to get rid of what nobody reads.
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_SECONDS * 1000)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    listener.set_inheritable(True)
    return listener


def _prepare_shared_metrics(settings: Settings, service: str) -> None:
    from serving.common.app import metrics_directory

    directory = metrics_directory(settings, service)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    # Read by prometheus_client when the workers load it; not a setting of ours.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)


def _refuse(message: str) -> int:
    sys.stderr.write(message + "\n")
    return 2
