"""The predict service with small limits, for requests that go beyond them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from accident_reco.settings import Settings
from accident_reco_tests.support.live import live
from accident_reco_tests.support.toy import LOADERS, promote, toy_bundle
from serving.predict.app import create_app

URL = "/predict/accidents"
JSON = {"content-type": "application/json"}
HEAD = b"POST /predict/accidents HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
SECRET = "a-value-that-must-not-come-back"


@contextmanager
def bounded_service(home: Path) -> Iterator[httpx.Client]:
    """Serve a toy version from an empty home: 200 kB a body, 0.4 s of idling, 1.5 s a request."""
    promote(home, toy_bundle())
    settings = Settings.load(
        home=home, auth_required=False, max_body_bytes=200_000, body_idle_seconds=0.4, request_seconds=1.5
    )
    with live(create_app(settings, LOADERS)) as client:
        yield client
