"""PostgreSQL as a native process: creates its data directory, sets its superuser's password, starts it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from accident_reco.launch.private_files import UNPRIVILEGED
from accident_reco.launch.processes import LOOPBACK, Children, LaunchError
from accident_reco.launch.programs import debian, postgres_program

INITDB_FLAGS = [
    "--username=postgres",
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale-provider=builtin",
    "--locale=C.UTF-8",
]


def start_postgres(
    children: Children, folder: Path, port: int, password: str, options: Mapping[str, str] | None = None
) -> Callable[[], bool]:
    """Start PostgreSQL with one superuser `postgres`; returns its readiness probe.

    PostgreSQL rejects root, so that root starts it as the user `nobody`.

    Raises:
        LaunchError: the data directory cannot be created, or `nobody` cannot access it.
    """
    data = folder / "data"
    drops_root = os.geteuid() == 0
    prefix = _unprivileged() if drops_root else []
    folder.mkdir(parents=True, exist_ok=True)
    if drops_root:
        os.chown(folder, UNPRIVILEGED, UNPRIVILEGED)
    if not (data / "PG_VERSION").exists():
        secret = folder / "password"
        secret.write_text(password, encoding="utf-8")
        secret.chmod(0o600)
        if drops_root:
            os.chown(secret, UNPRIVILEGED, UNPRIVILEGED)
        done = subprocess.run(
            [*prefix, postgres_program("initdb"), f"--pgdata={data}", f"--pwfile={secret}", *INITDB_FLAGS],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
        secret.unlink()
        if done.returncode != 0:
            hint = "; fix: let the user nobody enter every folder above it" if drops_root else ""
            raise LaunchError(f"initdb could not create {data}{hint}:\n{done.stderr.strip()}")
    else:
        _set_superuser_password(data, password, prefix)
    settings = {"listen_addresses": LOOPBACK, "port": str(port), "unix_socket_directories": "", **(options or {})}
    flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    # SIGINT is PostgreSQL's fast shutdown; SIGTERM would wait for every client to disconnect.
    command = [*prefix, postgres_program("postgres"), "-D", str(data), *flags]
    children.start("postgres", command, stop_signal=signal.SIGINT)
    return lambda: postgres_answers(f"postgresql://postgres:{quote(password)}@{LOOPBACK}:{port}/postgres")


def _set_superuser_password(data: Path, password: str, prefix: Sequence[str]) -> None:
    """Set the superuser's password without a server: it may have been rotated since `initdb`."""
    literal = password.replace("'", "''")
    done = subprocess.run(
        [*prefix, postgres_program("postgres"), "--single", "-D", str(data), "postgres"],
        input=f"ALTER ROLE postgres PASSWORD '{literal}'\n",
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    if done.returncode != 0 or "ERROR" in done.stderr:
        raise LaunchError(f"PostgreSQL could not open {data}:\n{done.stderr.strip()}")


def postgres_answers(url: str) -> bool:
    """Whether a login works."""
    import psycopg2

    try:
        psycopg2.connect(url, connect_timeout=2).close()
    except psycopg2.OperationalError:
        return False
    return True


def _unprivileged() -> list[str]:
    identity = [f"--reuid={UNPRIVILEGED}", f"--regid={UNPRIVILEGED}", "--clear-groups"]
    return [debian("setpriv"), *identity, "--pdeathsig", "TERM"]
