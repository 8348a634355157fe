"""Servers for tests: an app on uvicorn with the services' protocol, on a free loopback port, in a thread."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import uvicorn
from fastapi import FastAPI

from serving.common.run import GuardedHttpProtocol


@contextmanager
def live(
    app: FastAPI, ready: bool = True, port: int = 0, listener: socket.socket | None = None
) -> Iterator[httpx.Client]:
    """A client of the running app; with `ready`, once `/readyz` returns 200. A `listener` is used instead of a port."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        http=GuardedHttpProtocol,
        log_config=None,
        access_log=False,
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=3,
    )
    server = uvicorn.Server(config)
    sockets = None if listener is None else [listener]
    thread = threading.Thread(target=server.run, args=(sockets,), daemon=True, name="live-server")
    thread.start()
    try:
        wait_for(lambda: server.started)
        port = (listener or server.servers[0].sockets[0]).getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            if ready:
                wait_for(lambda: client.get("/readyz").status_code == 200)
            yield client
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        assert not thread.is_alive(), "the server did not stop"


def wait_for(condition: object, seconds: float = 10.0) -> None:
    """Poll until `condition()` is true, for events of other threads and processes; fails after `seconds`."""
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        threading.Event().wait(0.02)
