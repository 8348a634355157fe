"""Redis as a broker for tests."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from accident_reco.launch.processes import LOOPBACK, Children
from accident_reco.launch.programs import debian


def start_redis(children: Children, folder: Path, port: int, password: str) -> Callable[[], bool]:
    """Start Redis with a password and without persistence, as a broker; returns its readiness probe."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "redis.conf"
    config.touch(mode=0o600)
    config.write_text(
        f'bind {LOOPBACK}\nport {port}\nrequirepass {password}\ndir {folder}\nsave ""\nappendonly no\n',
        encoding="utf-8",
    )
    children.start("redis", [debian("redis-server"), str(config)])
    return lambda: redis_answers(port)


def redis_answers(port: int) -> bool:
    """Whether Redis answers on the port; its demand for a login is an answer too."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=2) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith((b"-NOAUTH", b"+PONG"))
    except OSError:
        return False
