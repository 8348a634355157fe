"""Prepares the embedded home: directories, Dagster's configuration, databases, roles and the warehouse's schema."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import make_url

from accident_reco.launch.locks import require_restored
from accident_reco.launch.ownership import claim, require_unowned
from accident_reco.launch.private_files import private_files, protect_home
from accident_reco.lifecycle.tracking_home import ARTIFACTS, follow_home
from accident_reco.registry import database_access, warehouse_tables
from accident_reco.settings import Settings, variable
from accident_reco.storage.roles import ensure_databases, grant
from accident_reco.storage.warehouse import Warehouse

PACKAGED = Path(__file__).resolve().parents[1] / "deployment"
"""Copies of `dagster.yaml`, `workspace.yaml` and parts of `deploy/` in an installed package."""
ROOT = PACKAGED if PACKAGED.is_dir() else Path(__file__).resolve().parents[2]
"""Directory of `dagster.yaml` and `deploy/`: of the installed package, or of the checkout."""
RESTRICTED_ROLES = ("auth", "services", "console", "reader")
"""Roles of the warehouse with less than its owner's rights: `<role>_database_url` has the login of each."""
# glibc keeps what a service frees: it raises both thresholds with each large block, up to 32 and 64 MiB. With fixed
# ones, in bytes, freed memory goes back. In one arena, since those of other threads give back and take again with each
# request. Measured by `accident-reco bench --only allocator`; the serving image states the same.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_ARENA_MAX": "1"}


def prepare_home(settings: Settings) -> None:
    """Create everything that the platform's processes expect. Safe to repeat.

    Raises:
        LaunchError: a database or the store belongs to another installation, or a backup is being restored here;
            nothing was changed.
        StoreError: the store cannot be reached.
    """
    require_restored(settings.home)
    with private_files():
        _prepare(settings)
    protect_home(settings.home)


def _prepare(settings: Settings) -> None:
    for folder in (settings.home, settings.dagster_home, settings.logs):
        folder.mkdir(parents=True, exist_ok=True)
    settings.keys.mkdir(exist_ok=True)
    (settings.dagster_home / "dagster.yaml").write_text(dagster_yaml(settings), encoding="utf-8")
    if settings.database_admin_url:
        require_unowned(settings)
        restricted = [getattr(settings, f"{kind}_database_url") for kind in RESTRICTED_ROLES]
        owners = [settings.database, settings.dagster_database_url, settings.mlflow_database_url]
        ensure_databases(settings.database_admin_url, filter(None, owners), filter(None, restricted))
    claim(settings)
    follow_home(settings.tracking_uri, settings.home / ARTIFACTS)
    warehouse = Warehouse(settings.database)
    warehouse.upgrade(warehouse_tables(settings))
    if not warehouse.is_sqlite:
        grant(warehouse, restricted_roles(settings), database_access(settings))
    warehouse.close()


def dagster_yaml(settings: Settings) -> str:
    """Text of the project's dagster.yaml, with PostgreSQL storage if set; the URL stays in the environment."""
    text = (ROOT / "dagster.yaml").read_text(encoding="utf-8")
    if settings.dagster_database_url:
        text += f"\nstorage:\n  postgres:\n    postgres_url: {{env: {variable('dagster_database_url')}}}\n"
    return text


def restricted_roles(settings: Settings) -> dict[str, str]:
    """PostgreSQL roles in the settings besides the owner: kind of rights → role name."""
    urls = {kind: getattr(settings, f"{kind}_database_url") for kind in RESTRICTED_ROLES}
    return {kind: str(make_url(url).username) for kind, url in urls.items() if url}


def service_environment(settings: Settings, service: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Variables with which a service connects to the warehouse by its own role.

    The URLs of the other roles and of the superuser are blanked. The limits of the memory allocator are added, unless
    `environ` sets them.
    """
    role = service if service in RESTRICTED_ROLES else "services"
    own = getattr(settings, f"{role}_database_url")
    named = [f"{kind}_database_url" for kind in (*RESTRICTED_ROLES, "dagster", "mlflow")]
    named.append("database_admin_url")
    allocator = {name: environ.get(name, value) for name, value in ALLOCATOR.items()}
    return {variable("database_url"): own or settings.database} | {variable(name): "" for name in named} | allocator


def child_environment(settings: Settings, environ: dict[str, str]) -> dict[str, str]:
    """`environ` with the variables of child processes: paths and URLs, no telemetry, threads that share the cores."""
    return environ | {
        "ACCIDENT_RECO_HOME": str(settings.home),
        "DAGSTER_HOME": str(settings.dagster_home),
        variable("dagster_database_url"): settings.dagster_database_url,
        "MLFLOW_TRACKING_URI": settings.tracking_uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "PYTHONUNBUFFERED": "1",
        # A quarter of the daemon's idle time goes to freshness at its default, 30; nothing is late by minutes.
        "FRESHNESS_DAEMON_INTERVAL_SECONDS": environ.get("FRESHNESS_DAEMON_INTERVAL_SECONDS", "300"),
        # Two steps with two threads each on two cores take ten times as long where waiting threads spin, and one step
        # more than twice as long where they sleep at once: they spin for less than a microsecond first.
        "OMP_WAIT_POLICY": environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        "GOMP_SPINCOUNT": environ.get("GOMP_SPINCOUNT", "400"),
    }
