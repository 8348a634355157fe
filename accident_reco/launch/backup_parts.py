"""What an installation consists of: its databases, files and stores, and what a backup leaves out of it and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqlalchemy import make_url

from accident_reco.launch.running import recorded_stack
from accident_reco.launch.stack_config import BUCKETS
from accident_reco.settings import Settings, variable

KEYS = ("keys", "stack/keys")
RECREATED = (
    "installation-id",
    "dagster/dagster.yaml",
    "dagster/workspace.yaml",
    "stack/environment",
    "stack/prometheus.yml",
    "stack/alertmanager.yml",
)
"""Files of a home that a start writes anew."""
LEFT_OUT = {
    "logs": "logs of processes",
    "dagster/storage": "output of the steps of runs",
    "cache": "copies of versions, which services fetch again",
    "tools": "programs; `make dvc` installs them again",
    "stack/prometheus": "series of metrics",
    "stack/alertmanager": "silences of alerts",
}
"""Folders of a home that are not needed to go on."""
SAVED_OTHERWISE = ("stack/postgres", "stack/s3")
SERVER_SUFFIXES = (".lock", ".processes.json", "-wal", "-shm", "-journal", ".sock")
IMMUTABLE = (".git/objects/", ".dvc/cache/")
"""Contents that other files refer to: they are saved last."""


@dataclass(frozen=True)
class InstallationParts:
    """Parts of an installation.

    Args:
        kind: `embedded`, `stack` (servers that `accident-reco stack` starts in the home), or `servers` (of others).
        databases: name → URL, PostgreSQL.
        stores: name → URL.
        model_store: path of the model store in a backup.
        folders: name → folder of files.
        left_out: what is not part of a backup → why.
    """

    kind: str
    databases: Mapping[str, str]
    stores: Mapping[str, str]
    model_store: str
    folders: Mapping[str, Path]
    left_out: Mapping[str, str]
    excluded: Sequence[Path] = field(default=())

    def files(self, name: str) -> Iterator[Path]:
        """Files of a folder, those that others refer to last."""
        folder = self.folders[name]
        found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        kept = [path for path in found if not self._is_excluded(path)]
        yield from sorted(kept, key=lambda path: (any(part in path.as_posix() for part in IMMUTABLE), path))

    def _is_excluded(self, path: Path) -> bool:
        if path.name.endswith(SERVER_SUFFIXES) or path.name.endswith(".draft"):
            return True
        return any(path == other or other in path.parents for other in self.excluded)


def find_parts(settings: Settings, also: Sequence[str] = (), with_keys: bool = True) -> InstallationParts:
    """The parts of the installation of these settings.

    Args:
        also: URLs of further stores.
        with_keys: whether generated keys and passwords are part of it.
    """
    home = settings.home
    kind = _kind(settings)
    left_out = {f"{home / name}": why for name, why in LEFT_OUT.items() if (home / name).exists()}
    excluded = [home / name for name in (*LEFT_OUT, *RECREATED, *SAVED_OTHERWISE)]
    if not with_keys:
        excluded += [home / name for name in KEYS]
        left_out |= {f"{home / name}": "generated keys and passwords" for name in KEYS if (home / name).exists()}
    stores = {name: f"s3://{name}" for name in BUCKETS} if kind == "stack" else {"store": settings.store}
    further = {"dvc": settings.dvc_remote} if settings.dvc_remote else {}
    further |= {_store_name(url): url for url in also}
    for name, url in further.items():
        if urlsplit(url).scheme not in ("", "file", "s3"):
            left_out[url] = "a store of this kind cannot be read here"
        elif _place_in(stores, url) is None:
            stores[name] = url
    for url in stores.values():
        if urlsplit(url).scheme in ("", "file"):
            excluded.append(Path(unquote(urlsplit(url).path)))
    folders = {"home": home}
    if settings.dvc_remote and not settings.datasets.is_relative_to(home):
        folders["datasets"] = settings.datasets
    if kind != "stack" and urlsplit(settings.tracking_uri).scheme != "sqlite":
        left_out[f"MLflow at {settings.tracking_uri}"] = "runs and artifacts of a server of its own; back them up there"
    left_out["settings and secrets in environment variables"] = "they belong to the deployment"
    model_store = _place_in(stores, settings.store)
    assert model_store is not None
    databases = {} if kind == "embedded" else _databases(settings)
    return InstallationParts(kind, databases, stores, model_store, folders, left_out, excluded)


def embedded_databases(settings: Settings) -> dict[str, Path]:
    """SQLite files that settings place outside of the home: name → path."""
    urls = {"warehouse": settings.database, "mlflow": settings.tracking_uri}
    paths = {
        name: Path(make_url(url).database or "")
        for name, url in urls.items()
        if urlsplit(url).scheme.startswith("sqlite")
    }
    return {name: path for name, path in paths.items() if not path.is_relative_to(settings.home)}


def _kind(settings: Settings) -> str:
    if not any(_databases(settings)):
        return "embedded"
    stack = recorded_stack(settings.home)
    return "stack" if stack.get(variable("database_url")) == settings.database_url else "servers"


def _databases(settings: Settings) -> dict[str, str]:
    """Name → URL of the PostgreSQL databases in the settings."""
    urls = {
        "warehouse": settings.database_url,
        "dagster": settings.dagster_database_url,
        "mlflow": settings.mlflow_database_url,
    }
    return {name: url for name, url in urls.items() if make_url(url or "sqlite://").get_backend_name() == "postgresql"}


def _place_in(stores: Mapping[str, str], url: str) -> str | None:
    """Path in a backup of a URL that one of the stores contains; None where none does."""
    for name, whole in stores.items():
        rest = url.rstrip("/").removeprefix(whole.rstrip("/"))
        if rest != url.rstrip("/") and (not rest or rest.startswith("/")):
            return f"stores/{name}{rest}"
    return None


def _store_name(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.netloc}{parts.path}".strip("/").replace("/", "-")
