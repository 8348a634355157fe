"""Secrets of the stack's servers, changed between two starts: the new one works, the old one does not."""

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
from accident_reco_tests.serving.live import wait_for
from accident_reco_tests.stack.conftest import S3, start_s3

pytestmark = pytest.mark.stack


def test_a_rotated_secret_is_the_only_one_that_works(
    children: Children, stack_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart with a new secret for the same key the old pair is refused, whatever the launcher's shell has."""
    first = start_s3(children, stack_folder / "s3-rotated")
    store = _reached(first, monkeypatch)
    store.write("a", b"kept")
    children.end("s3")
    # A shell that has read `stack/environment` before the rotation has the old pair in its environment.
    monkeypatch.setattr(children, "environ", {**children.environ, **first.environ})
    second = start_s3(children, stack_folder / "s3-rotated", like=replace(first, secret_key="another-secret"))
    store = _reached(second, monkeypatch)
    wait_for(lambda: _is_readable(lambda: store.read("a") == b"kept"), 20)
    with pytest.raises(StoreError, match="SignatureDoesNotMatch"):
        _reached(first, monkeypatch).read("a")
    children.end("s3")


def _reached(s3: S3, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """A store of fresh clients with the server's pair."""
    s3fs.S3FileSystem.clear_instance_cache()
    for name, value in s3.environ.items():
        monkeypatch.setenv(name, value)
    return open_store("s3://artifacts/rotated")


def _is_readable(read: Callable[[], bool]) -> bool:
    try:
        return read()
    except StoreError:
        return False


def test_a_rotated_superuser_password_is_the_only_one_that_works(children: Children, stack_folder: Path) -> None:
    """PostgreSQL keeps what it was made with, and an installation whose file was changed would never be ready."""
    folder, port = stack_folder / "postgres-rotated", free_port()
    url = f"postgresql://postgres:{{}}@{LOOPBACK}:{port}/postgres"
    for password in ("first", "it's \\ another"):
        ready = start_postgres(children, folder, port, password)
        children.await_ready({"postgres": ready}, 30)
        assert postgres_answers(url.format(quote(password))) is True
        assert postgres_answers(url.format("first")) is (password == "first")
        children.end("postgres")
