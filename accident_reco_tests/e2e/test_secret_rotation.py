"""Secrets of the stack's servers, changed between two starts: only the new one works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
import s3fs

from accident_reco.launch.postgres_server import postgres_answers, start_postgres
from accident_reco.launch.processes import LOOPBACK, Children, free_port
from accident_reco.storage.objects import ObjectStore, StoreError, open_store
from accident_reco_tests.e2e.conftest import S3, start_s3
from accident_reco_tests.support.live import wait_for

pytestmark = pytest.mark.e2e


def test_only_the_new_s3_secret_works(children: Children, stack_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a restart with a new secret for the same key the old pair is rejected, even if it is in the environment."""
    first = start_s3(children, stack_folder / "s3-rotated")
    store = _connect(first, monkeypatch)
    store.write("a", b"kept")
    children.end("s3")
    # A shell that read `stack/environment` before the rotation has the old pair in its environment.
    monkeypatch.setattr(children, "environ", {**children.environ, **first.environ})
    second = start_s3(children, stack_folder / "s3-rotated", like=replace(first, secret_key="another-secret"))
    store = _connect(second, monkeypatch)
    wait_for(lambda: _is_readable(lambda: store.read("a") == b"kept"), 20)
    with pytest.raises(StoreError, match="SignatureDoesNotMatch"):
        _connect(first, monkeypatch).read("a")
    children.end("s3")


def _connect(s3: S3, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """A store of new clients with the server's key pair."""
    s3fs.S3FileSystem.clear_instance_cache()
    for name, value in s3.environ.items():
        monkeypatch.setenv(name, value)
    return open_store("s3://artifacts/rotated")


def _is_readable(read: Callable[[], bool]) -> bool:
    try:
        return read()
    except StoreError:
        return False


def test_only_the_new_superuser_password_works(children: Children, stack_folder: Path) -> None:
    """PostgreSQL keeps the password of its creation; without a change the installation would never become ready."""
    folder, port = stack_folder / "postgres-rotated", free_port()
    url = f"postgresql://postgres:{{}}@{LOOPBACK}:{port}/postgres"
    for password in ("first", "it's \\ another"):
        ready = start_postgres(children, folder, port, password)
        children.await_ready({"postgres": ready}, 30)
        assert postgres_answers(url.format(quote(password))) is True
        assert postgres_answers(url.format("first")) is (password == "first")
        children.end("postgres")
