"""The lock of a home: who holds it, that readers do not hinder a start, the variables of a stack."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from accident_reco.launch.locks import is_locked, sole_platform
from accident_reco.launch.processes import LaunchError
from accident_reco.launch.running import find_running, stack_variables


def test_the_holder_is_named(tmp_path: Path) -> None:
    """While it holds the lock, and not afterwards: the file stays."""
    assert find_running(tmp_path) is None
    with sole_platform(tmp_path):
        running = find_running(tmp_path)
        assert running is not None
        assert (running.kind, running.pid) == ("platform", os.getpid())
        with sole_platform(tmp_path, "stack"):
            outer = find_running(tmp_path)
            assert outer is not None
            assert outer.kind == "stack", "the one that stops the other too"
    assert (tmp_path / "platform.lock").exists()
    assert find_running(tmp_path) is None


def test_a_second_platform_does_not_erase_the_first_one(tmp_path: Path) -> None:
    """Its failed start leaves the holder's process in the file."""
    with sole_platform(tmp_path):
        with pytest.raises(LaunchError, match="accident-reco stop") as error, sole_platform(tmp_path):
            pass
        assert f"runs in {tmp_path} already (process {os.getpid()} since 20" in str(error.value)
        assert find_running(tmp_path) is not None


def test_a_reader_does_not_prevent_a_start(tmp_path: Path) -> None:
    """`status` looks at the lock for a moment: a start at that moment waits."""
    (tmp_path / "platform.lock").touch()
    readers = [is_locked(tmp_path / "platform.lock") for _ in range(3)]
    with sole_platform(tmp_path):
        readers.append(is_locked(tmp_path / "platform.lock"))
    assert readers == [False, False, False, True]


def test_variables_of_a_running_stack(tmp_path: Path) -> None:
    """Only while it runs; passwords with any character."""
    url = "postgresql+psycopg2://platform:a b'c\"$d@127.0.0.1/platform"
    (tmp_path / "stack").mkdir()
    (tmp_path / "stack" / "environment").write_text(f"ACCIDENT_RECO_DATABASE_URL={shlex.quote(url)}\nAWS_REGION=x\n")
    assert stack_variables(tmp_path) == {}
    with sole_platform(tmp_path):
        assert stack_variables(tmp_path) == {}
    with sole_platform(tmp_path, "stack"):
        assert stack_variables(tmp_path) == {"ACCIDENT_RECO_DATABASE_URL": url, "AWS_REGION": "x"}
