"""What `make stack` reports before it starts anything, and how long it waits for the platform."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from accident_reco.launch import stack
from accident_reco.launch.processes import Children, LaunchError, free_port
from accident_reco.launch.stack_servers import paired_port
from accident_reco.launch.supervision import Supervisor
from accident_reco.settings import Settings


@pytest.fixture
def taken() -> Iterator[list[int]]:
    """Three ports in use."""
    with ExitStack() as open_ports:
        sockets = [open_ports.enter_context(socket.socket()) for _ in range(3)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
            one.listen()
        yield [one.getsockname()[1] for one in sockets]


def free_ports() -> dict[str, int]:
    return {f"{name}_port": paired_port() for name in stack.PORTS}


def test_servers_that_debian_has_started_are_named_with_the_fix(tmp_path: Path, taken: list[int]) -> None:
    """Every port in use with its variable, and how to stop what Debian runs on it."""
    used = dict(zip(("postgres_port", "prometheus_port", "mlflow_port"), taken, strict=True))
    settings = Settings.load(home=tmp_path, **free_ports() | used)
    with pytest.raises(LaunchError) as error, stack.stack_servers(settings, {}):
        pass
    lines = str(error.value).splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == [
        f"port {port} on 127.0.0.1" for port in (taken[0], taken[2], taken[1])
    ]
    assert "set ACCIDENT_RECO_POSTGRES_PORT to a free one" in lines[0]
    assert lines[3].endswith(
        "to stop Debian's: `sudo systemctl disable --now postgresql prometheus`, "
        "or without systemd `sudo service postgresql stop; sudo service prometheus stop`"
    )


def test_other_ports_in_use_are_not_debians(tmp_path: Path, taken: list[int]) -> None:
    """MLflow has no Debian package: the variable is the only fix."""
    settings = Settings.load(home=tmp_path, **free_ports() | {"mlflow_port": taken[0]})
    with pytest.raises(LaunchError) as error, stack.stack_servers(settings, {}):
        pass
    assert "Debian" not in str(error.value)


def test_the_wait_for_the_platform_ends_with_the_platform_not_with_a_clock(tmp_path: Path) -> None:
    """A first training takes as long as it takes; a platform that ends is reported at once."""
    settings = Settings.load(home=tmp_path, predict_port=free_port())
    platform, servers = Children({}, tmp_path), Children({}, tmp_path)
    try:
        platform.start("platform", [sys.executable, "-c", "raise SystemExit('no data')"])
        with pytest.raises(LaunchError, match="platform ended with exit code 1"):
            stack._await_platform(platform, Supervisor([servers], tmp_path, "stack"), settings)
    finally:
        platform.stop()
