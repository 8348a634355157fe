"""Real servers, started once for all stack tests on free loopback ports, and stopped at the end.

They are started as by `make stack`, in a folder of their own that PostgreSQL's user can enter.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, create_engine, text

from accident_reco.launch import stack_servers as servers
from accident_reco.launch.home import RESTRICTED_ROLES, prepare_home, service_environment
from accident_reco.launch.postgres_server import start_postgres
from accident_reco.launch.processes import LOOPBACK, Children, free_port
from accident_reco.launch.programs import debian
from accident_reco.settings import Settings, variable
from accident_reco.storage.objects import ObjectStore, open_store
from accident_reco.storage.warehouse import Warehouse

_names = count()


@pytest.fixture(autouse=True)
def _stack_marker(request: pytest.FixtureRequest) -> None:
    """Every test here needs the marker `e2e`, so that `-m 'not e2e'` leaves all of them out."""
    assert request.node.get_closest_marker("e2e"), "mark the module: pytestmark = pytest.mark.e2e"


@pytest.fixture(scope="session")
def stack_folder() -> Iterator[Path]:
    """A temporary folder that every user can enter, unlike pytest's: PostgreSQL runs as another user."""
    folder = Path(tempfile.mkdtemp(prefix="accident-reco-stack-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def children(stack_folder: Path) -> Iterator[Children]:
    """Processes of all stack tests."""
    logs = stack_folder / "logs"
    logs.mkdir()
    running = Children(dict(os.environ) | {"MLFLOW_DISABLE_TELEMETRY": "true"}, logs)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def npm(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Any], Any]:
    """Runs a script of the folder `npm` with Grafana's packages: JSON in, JSON out."""
    folder = shutil.copytree(Path(__file__).parent / "npm", tmp_path_factory.mktemp("npm") / "scripts")
    install = [debian("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    subprocess.run(install, cwd=folder, check=True, capture_output=True, text=True, timeout=180)

    def run(script: str, document: Any) -> Any:
        command = [debian("node", "nodejs"), script]
        done = subprocess.run(
            command, cwd=folder, input=json.dumps(document), capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@dataclass(frozen=True)
class Postgres:
    """A running PostgreSQL and its superuser."""

    port: int
    password: str

    def url(self, database: str = "postgres", user: str = "postgres", password: str | None = None) -> URL:
        """SQLAlchemy URL."""
        return URL.create("postgresql+psycopg2", user, password or self.password, LOOPBACK, self.port, database)

    def new_database(self) -> str:
        """An empty database's URL, password included."""
        name = f"test_{next(_names)}"
        engine = create_engine(self.url(), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return self.url(name).render_as_string(hide_password=False)

    def prepare_platform(self, home: Path) -> Settings:
        """The launcher's settings of a new database, prepared as at its start: an owner, and the restricted roles.

        `service_settings` turns them into those of one service.
        """
        name = f"test_{next(_names)}"
        roles = {"database_url": "owner"} | {f"{kind}_database_url": kind for kind in RESTRICTED_ROLES}
        urls = {
            setting: self.url(name, f"{name}_{kind}", secrets.token_urlsafe(12)).render_as_string(hide_password=False)
            for setting, kind in roles.items()
        }
        admin = self.url().render_as_string(hide_password=False)
        settings = Settings.load(home=home, database_admin_url=admin, **urls)
        prepare_home(settings)
        return settings


def service_settings(launcher: Settings, service: str, **changes: object) -> Settings:
    """Settings of a service as the launcher starts it: with the database role of its own, and no address of another."""
    stated = service_environment(launcher, service, {})
    named = {name: stated[variable(name)] for name in type(launcher).model_fields if variable(name) in stated}
    return Settings.load(home=launcher.home, **named | changes)


@pytest.fixture(scope="session")
def postgres(children: Children, stack_folder: Path) -> Postgres:
    """A real PostgreSQL, without durability."""
    port, password = free_port(), secrets.token_urlsafe(12)
    quick = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    probe = start_postgres(children, stack_folder / "postgres", port, password, quick)
    children.await_ready({"postgres": probe}, 30)
    return Postgres(port, password)


@pytest.fixture
def database(postgres: Postgres) -> str:
    """URL of an empty PostgreSQL database."""
    return postgres.new_database()


@pytest.fixture
def warehouse(database: str) -> Iterator[Warehouse]:
    """A migrated warehouse on PostgreSQL."""
    warehouse = Warehouse(database)
    warehouse.upgrade()
    yield warehouse
    warehouse.close()


@pytest.fixture
def warehouses(postgres: Postgres, tmp_path: Path) -> Iterator[dict[str, Warehouse]]:
    """A migrated warehouse on PostgreSQL as each role sees it: `owner`, `auth`, `services`."""
    launcher = postgres.prepare_platform(tmp_path / "launcher")
    urls = {"owner": launcher.database, "auth": launcher.auth_database_url, "services": launcher.services_database_url}
    opened = {role: Warehouse(url) for role, url in urls.items()}
    yield opened
    for warehouse in opened.values():
        warehouse.close()


@dataclass(frozen=True)
class S3:
    """A running S3 API with two buckets, `artifacts` and `models`."""

    ports: tuple[int, ...]
    access_key: str
    secret_key: str

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://{LOOPBACK}:{self.ports[0]}"

    @property
    def environ(self) -> dict[str, str]:
        """The standard variables of its clients."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
        }


def start_s3(children: Children, folder: Path, like: S3 | None = None) -> S3:
    """Start an S3 server for tests that stop it, or restart one (`like`)."""
    made = like or S3(servers.seaweed_ports(), secrets.token_hex(8), secrets.token_hex(16))
    buckets = ["artifacts", "models"]
    ready = servers.start_s3(children, folder, made.ports, made.access_key, made.secret_key, buckets)
    children.await_ready({"s3": ready}, 30)
    return made


@pytest.fixture(scope="session")
def s3_server(children: Children, stack_folder: Path) -> S3:
    """The shared S3 server."""
    return start_s3(children, stack_folder / "s3")


@pytest.fixture(scope="module", autouse=True)
def _new_s3_clients() -> None:
    """s3fs keeps clients by their arguments: one of another module may know a server that is gone."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """The shared S3 server, reachable by the standard variables during one test."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()  # a client of an earlier test may know other keys
    for name, value in s3_server.environ.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture
def store_url(s3: S3) -> str:
    """URL of a prefix of this test alone."""
    return f"s3://artifacts/test-{next(_names)}"


@pytest.fixture
def store(store_url: str) -> ObjectStore:
    """An empty object store on S3."""
    return open_store(store_url)
