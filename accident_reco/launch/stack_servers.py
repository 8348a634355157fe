"""Servers of the production stack as native processes: prepares and starts each, and returns its readiness probe.

Programs come from wheels (SeaweedFS, MLflow) and Debian packages (Prometheus, Alertmanager, exporters);
PostgreSQL is in `postgres_server`. Holds nothing about the platform that runs on them.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

from accident_reco.launch.processes import LOOPBACK, Children, answers
from accident_reco.launch.programs import debian, script

GUARDED = "--http serving.guard.mlflow_server:GuardedProtocol --ws none"
"""Options of MLflow's uvicorn that put the guard around its app."""
LOG_FLAGS = ("-log_max_size_mb=20", "-log_max_files=3")
"""Bounds of SeaweedFS's own log files; its default is 9 GB per level."""
GRPC_OFFSET = 10_000
"""SeaweedFS opens a second port this far above each of its ports."""


def start_s3(
    children: Children,
    folder: Path,
    ports: Sequence[int],
    access_key: str,
    secret_key: str,
    buckets: Sequence[str],
    metrics_port: int = 0,
) -> Callable[[], bool]:
    """Start SeaweedFS as an S3 API; returns its readiness probe. The keys cannot create or remove buckets.

    Args:
        ports: S3, master, volume, filer and admin (`seaweed_ports` finds free ones around a given S3 port).
        metrics_port: where Prometheus scrapes it; 0: nowhere.
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
    ports_of = {"s3": s3, "master": master, "volume": volume, "filer": filer, "admin": admin}
    unused = {"s3.port.iceberg": 0, "s3.port.lance": 0, "webdav": "false", "admin.ui": "false"}
    flags = {
        "dir": folder / "data",
        "ip": LOOPBACK,
        "ip.bind": LOOPBACK,
        "master.telemetry": "false",
        **{f"{part}.port": port for part, port in ports_of.items()},
        **unused,
        **({"metricsPort": metrics_port} if metrics_port else {}),
        "s3.config": config,
        "bucket": ",".join(buckets),
        "filer.localSocket": folder / "filer.sock",
    }
    command = [
        script("weed"),
        *LOG_FLAGS,
        f"-logdir={folder}",
        "mini",
        *(f"-{name}={value}" for name, value in flags.items()),
    ]
    # SeaweedFS treats a key pair of the environment as an administrator's, before the same key in its configuration: in
    # a shell with an older `stack/environment` the old secret would stay valid and the new one be rejected.
    children.start("s3", command, environ=dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), ""))
    return lambda: answers(f"http://{LOOPBACK}:{s3}/healthz") and _has_buckets(s3, access_key, secret_key, buckets)


def _has_buckets(port: int, access_key: str, secret_key: str, buckets: Sequence[str]) -> bool:
    """Whether the buckets exist: SeaweedFS is healthy a moment before it has created them."""
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.session import get_session

    client = get_session().create_client(
        "s3",
        "us-east-1",
        endpoint_url=f"http://{LOOPBACK}:{port}",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(connect_timeout=2, read_timeout=5, s3={"addressing_style": "path"}),
    )
    try:
        for bucket in buckets:
            client.head_bucket(Bucket=bucket)
    except (BotoCoreError, ClientError):
        return False
    return True


def seaweed_ports(s3: int | None = None) -> tuple[int, ...]:
    """Ports for `start_s3`, each with its sibling `GRPC_OFFSET` above free too."""
    return (s3 or paired_port(), *(paired_port() for _ in range(4)))


def paired_port() -> int:
    """A free port whose sibling `GRPC_OFFSET` above is free too."""
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
    """Start MLflow's tracking server, which proxies artifacts; returns the URL of its readiness probe."""
    server = [
        *(sys.executable, "-m", "mlflow", "server", "--uvicorn-opts", GUARDED),
        *f"--host {LOOPBACK} --port {port} --workers 1 --serve-artifacts".split(),
    ]
    command = [*server, "--backend-store-uri", backend_url, "--artifacts-destination", artifacts, *flags]
    # Without MLflow's own jobs, which nothing uses: eight processes and two gigabytes less.
    children.start("mlflow", command, environ={"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **environ})
    return f"http://{LOOPBACK}:{port}/health"


def start_prometheus(children: Children, folder: Path, port: int, config: Path) -> str:
    """Start Prometheus; returns the URL of its readiness probe."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        debian("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={LOOPBACK}:{port}",
        "--storage.tsdb.retention.time=30d",
        "--web.enable-lifecycle",
        "--log.format=json",
    ]
    children.start("prometheus", command)
    return f"http://{LOOPBACK}:{port}/-/ready"


def start_alertmanager(children: Children, folder: Path, port: int, config: Path) -> str:
    """Start Alertmanager without a cluster port; returns the URL of its readiness probe."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        debian("prometheus-alertmanager", "alertmanager"),
        f"--config.file={config}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address={LOOPBACK}:{port}",
        "--cluster.listen-address=",
        "--log.format=json",
    ]
    children.start("alertmanager", command)
    return f"http://{LOOPBACK}:{port}/-/ready"


def start_node_exporter(children: Children, port: int) -> None:
    """Start the exporter of processors, memory and disks."""
    children.start("node-exporter", [debian("prometheus-node-exporter"), f"--web.listen-address={LOOPBACK}:{port}"])


def start_postgres_exporter(children: Children, port: int, postgres_port: int, password: str) -> None:
    """Start the exporter of PostgreSQL's sizes, connections and transactions."""
    url = f"postgresql://postgres:{quote(password)}@{LOOPBACK}:{postgres_port}/postgres?sslmode=disable"
    command = [debian("prometheus-postgres-exporter"), f"--web.listen-address={LOOPBACK}:{port}"]
    children.start("postgres-exporter", command, environ={"DATA_SOURCE_NAME": url})
