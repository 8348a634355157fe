"""A call in a process of its own: what it returns and raises, and that it ends in time whatever it waits for."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from accident_reco.lifecycle.bounded_call import CallFailed, OutOfTime, call_within
from accident_reco.lifecycle.tracking import TrackedRun, spool
from accident_reco.lifecycle.tracking_spool import UnreadableRun, load

RUN = TrackedRun("movies", "run", {"a": 1}, {"b": 0.5}, {"bundle_version": "v"}, {"card.md": b"\0\xff"})


def test_result_environment_and_print(tmp_path: Path) -> None:
    """Values of our own classes go there and back; what the function prints is no part of the result."""
    place = call_within(60, {}, spool, tmp_path, RUN)
    assert call_within(60, {}, load, place) == RUN
    assert call_within(60, {"PLAIN": "yes"}, os.getenv, "PLAIN") == "yes"
    assert call_within(60, {}, print, "noise") is None


def test_errors(tmp_path: Path) -> None:
    """Ours come as themselves, a library's as text, a process that dies as its exit code."""
    with pytest.raises(UnreadableRun, match=r"nowhere/run\.json"):
        call_within(60, {}, load, tmp_path / "nowhere")
    with pytest.raises(CallFailed, match=r"FileNotFoundError: .*nowhere"):
        call_within(60, {}, os.listdir, str(tmp_path / "nowhere"))
    with pytest.raises(CallFailed, match="exit code 3"):
        call_within(60, {}, os._exit, 3)


def test_a_call_without_end_is_killed() -> None:
    """Asleep, or in a system call that no exception interrupts."""
    for function, argument in ((time.sleep, 600), (signal.sigwait, {signal.SIGUSR1})):
        began = time.monotonic()
        with pytest.raises(OutOfTime, match=r"not finished after 0\.5 s"):
            call_within(0.5, {}, function, argument)
        assert time.monotonic() - began < 5
    with pytest.raises(OutOfTime, match="no time is left"):
        call_within(0, {}, time.sleep, 0)


@pytest.mark.slow
def test_it_ends_by_itself_when_its_caller_was_killed() -> None:
    """A cancelled training leaves no process that waits for the tracker for ever."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        code = (
            "import urllib.request; from accident_reco.lifecycle.bounded_call import call_within; "
            f"call_within(5, {{}}, urllib.request.urlopen, {url!r})"
        )
        caller = subprocess.Popen([sys.executable, "-c", code])
        connection, _ = server.accept()
        caller.kill()
        assert caller.wait(10) == -signal.SIGKILL
        with connection:
            connection.settimeout(20)
            assert b"GET / " in connection.recv(1000)
            assert connection.recv(1000) == b""  # ended
