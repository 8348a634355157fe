"""A person's client of a running platform: logged in as its admin, waiting for conditions."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import httpx

from accident_reco_tests.support.running import Running

T = TypeVar("T")


class Client:
    """HTTP calls to the services of `make up`, with the admin's token."""

    def __init__(self, running: Running) -> None:
        password = running.await_text(r"admin password: (\S+)", 600)[1]
        running.await_text(r"ready after \d+ s", 600)
        self._running = running
        form = {"username": "admin", "password": password}
        token = httpx.post(f"{running.url('auth')}/token", data=form, timeout=30).raise_for_status().json()
        self._http = httpx.Client(headers={"Authorization": f"Bearer {token['access_token']}"}, timeout=120)

    def call(self, method: str, service: str, path: str, body: Any = None) -> httpx.Response:
        """One request."""
        return self._http.request(method, self._running.url(service) + path, json=body)

    def get(self, service: str, path: str) -> Any:
        """The JSON of a successful GET."""
        return self.call("GET", service, path).raise_for_status().json()

    def post(self, service: str, path: str, body: Any) -> Any:
        """The JSON of a successful POST."""
        answer = self.call("POST", service, path, body)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def text(self, service: str, path: str) -> str:
        """The text of a successful GET."""
        return self.call("GET", service, path).raise_for_status().text

    def close(self) -> None:
        """Close connections."""
        self._http.close()


def await_value(read: Callable[[], T | None], seconds: float, what: str) -> T:
    """The first value that is not None; fails after `seconds`. For what happens in other processes."""
    deadline = time.monotonic() + seconds
    while (value := read()) is None:
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        threading.Event().wait(0.1)
    return value
