"""Versions of the training inputs of promoted versions, tracked by DVC in a git repository with an S3 remote.

DVC is a separate program outside this environment. It stores contents under their md5; git records the contents of
each promotion. The commit is local and precedes the move of the pointer; while the remote is unavailable, contents stay
in the repository's cache, and the next push includes them. Credentials of the remote are the `AWS_*` variables: no
secret is written into the repository.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from configparser import RawConfigParser
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Final

import yaml

from accident_reco.contract import Platform
from accident_reco.lifecycle.bundle import Bundle
from accident_reco.lifecycle.lineage import checkout_commit
from accident_reco.settings import Settings, variable
from accident_reco.storage.objects import ObjectStore

RECIPE: Final = "recipe.json"
STORE: Final = "store"
WRITER: Final = (
    "-c",
    "user.name=accident_reco",
    "-c",
    "user.email=accident_reco@localhost",
    "-c",
    "commit.gpgsign=false",
)
LOCAL_SECONDS: Final = 1800  # hashing and copying of large inputs
PUSH_SECONDS: Final = 3600


class DatasetError(RuntimeError):
    """The inputs cannot be versioned; the message has the cause and the fix."""


@dataclass(frozen=True)
class DatasetVersion:
    """Inputs in git and DVC. `problem` is the reason why they are not on the remote; empty where they are."""

    md5: str
    revision: str
    path: str
    remote: str
    files: int
    size: int
    problem: str

    def lineage(self) -> dict[str, str]:
        """The fields in a manifest's lineage."""
        return {"md5": self.md5, "git_revision": self.revision, "path": self.path, "remote": self.remote}


def write_recipe(folder: Path, model: str, version: str, settings: Settings, fields: Iterable[str]) -> None:
    """Write `recipe.json` beside the data: version, commit and settings of the training."""
    chosen = {name: getattr(settings, name) for name in sorted(fields)}
    code = settings.git_commit or checkout_commit()
    recipe = {"model": model, "version": version, "code": code, "settings": chosen}
    (folder / RECIPE).write_text(json.dumps(recipe, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def copy_objects(store: ObjectStore, keys: Iterable[str], folder: Path) -> None:
    """Copy objects below `folder/store`, under their keys."""
    for key in keys:
        target = folder / STORE / key
        target.parent.mkdir(parents=True, exist_ok=True)
        with store.open(key) as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)


def save_frames(names: Iterable[str], candidate: Bundle, platform: Platform, folder: Path) -> None:
    """Write the default inputs of a model: stored frames of the assets `names`, and the model's settings."""
    keys = [f"assets/{candidate.model}/{name}/all.parquet" for name in names]
    copy_objects(platform.objects, [key for key in keys if platform.objects.exists(key)], folder)
    kind = type(platform.settings)
    fields = [name for name in kind.model_fields if name.startswith(f"{candidate.model}_")]
    write_recipe(folder, candidate.model, candidate.version, platform.settings, [*fields, "seed", "training_jobs"])


class Datasets:
    """The git repository of the inputs, with DVC."""

    def __init__(self, settings: Settings) -> None:
        self.remote = settings.dvc_remote
        self.repository = settings.datasets
        self._program = settings.dvc_program or str(settings.home / "tools" / "bin" / "dvc")
        self._named = bool(settings.dvc_program)

    def keep(self, model: str, version: str, fill: Callable[[Path], None]) -> DatasetVersion:
        """Commit what `fill` writes into a folder, tag it `<model>/<version>`, and push.

        Raises:
            DatasetError: git or DVC is missing or fails locally; a failing remote is reported in `problem`.
        """
        path = f"{model}/inputs"
        with self._locked():
            self._prepare()
            fresh = Path(tempfile.mkdtemp(dir=self.repository / ".dvc" / "tmp", prefix="inputs-"))
            try:
                fill(fresh)
                target = self.repository / path
                shutil.rmtree(target, ignore_errors=True)
                target.parent.mkdir(exist_ok=True)
                fresh.rename(target)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
            self._dvc("add", "--quiet", path)
            self._commit(f"Inputs of {model} {version}")
            self._git("tag", "--force", f"{model}/{version}")
            tracked = yaml.safe_load((self.repository / f"{path}.dvc").read_text(encoding="utf-8"))["outs"][0]
            revision = self._git("rev-parse", "HEAD")
            problem = self._push()
        return DatasetVersion(
            tracked["md5"], revision, path, self.remote, int(tracked["nfiles"]), int(tracked["size"]), problem
        )

    def push(self) -> str:
        """Push what the remote lacks, of every promotion. Returns the problem; empty where there is none."""
        with self._locked():
            self._prepare()
            return self._push()

    def _push(self) -> str:
        problems = [self._try(self._dvc, "push", "--quiet", "--all-commits")]
        if self._git("remote"):
            problems.append(self._try(self._git, "push", "--quiet", "--follow-tags", "--tags", "origin", "HEAD"))
        return "; ".join(filter(None, problems))

    def _try(self, program: Callable[..., str], *arguments: str) -> str:
        try:
            program(*arguments, seconds=PUSH_SECONDS)
        except DatasetError as error:
            return str(error)
        return ""

    def _prepare(self) -> None:
        """Create the repository and configure its remote. Idempotent."""
        if not (self.repository / ".git").exists():
            self._git("init", "--quiet", "--initial-branch", "main")
        # The lock is held: the process that left this file was killed.
        (self.repository / ".git" / "index.lock").unlink(missing_ok=True)
        if not (self.repository / ".dvc" / "config").exists():
            self._dvc("init", "--quiet", "--force")
        (self.repository / ".dvc" / "tmp").mkdir(exist_ok=True)
        self._configure()
        self._commit(f"Keep contents at {self.remote}")

    def _configure(self) -> None:
        """Write the remote to DVC's configuration file; the `dvc remote` command takes seconds. Other entries stay."""
        file = self.repository / ".dvc" / "config"
        config = RawConfigParser()
        config.read(file, encoding="utf-8")
        before = {name: dict(config[name]) for name in config.sections()}
        remote = {"url": self.remote}
        config.read_dict({"core": {"check_update": "false", "remote": "store"}, "'remote \"store\"'": remote})
        if before != {name: dict(config[name]) for name in config.sections()}:
            text = StringIO()
            config.write(text)
            file.write_text(text.getvalue(), encoding="utf-8")

    def _commit(self, message: str) -> None:
        self._git("add", "--all")
        if self._git("status", "--porcelain"):
            self._git("commit", "--quiet", "--message", message)

    def _git(self, *arguments: str, seconds: float = LOCAL_SECONDS) -> str:
        return self._run(["git", *WRITER, *arguments], seconds)

    def _dvc(self, *arguments: str, seconds: float = LOCAL_SECONDS) -> str:
        program = self._program if Path(self._program).exists() else None if self._named else shutil.which("dvc")
        if program is None:
            raise DatasetError(
                f"inputs are versioned ({variable('dvc_remote')} is set) and there is no {self._program}: "
                f"`make dvc` installs DVC there, {variable('dvc_program')} names another one"
            )
        return self._run([program, *arguments], seconds)

    def _run(self, command: list[str], seconds: float) -> str:
        name = " ".join(Path(part).name for part in command if part not in WRITER)
        # Otherwise DVC has a cache in /var/tmp, which is read-only in a container, and sends usage statistics.
        environ = os.environ | {
            "DVC_SITE_CACHE_DIR": str(self.repository / ".dvc" / "tmp" / "site"),
            "DVC_NO_ANALYTICS": "1",
        }
        try:
            done = subprocess.run(
                command, cwd=self.repository, env=environ, capture_output=True, text=True, check=False, timeout=seconds
            )
        except FileNotFoundError:
            raise DatasetError(f"{command[0]} is not installed") from None
        except subprocess.TimeoutExpired:
            raise DatasetError(f"`{name}` did not end within {seconds:g} s") from None
        if done.returncode != 0:
            raise DatasetError(
                f"`{name}` failed: {_last_lines(done.stderr) or _last_lines(done.stdout) or done.returncode}"
            )
        return done.stdout.strip()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of the repository: git has one index."""
        self.repository.mkdir(parents=True, exist_ok=True)
        with (self.repository.parent / f".{self.repository.name}.lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _last_lines(output: str) -> str:
    """The last lines of an output, without DVC's link to its chat."""
    lines = [line.strip() for line in output.splitlines() if line.strip() and "dvc.org" not in line]
    return " ".join(lines[-4:])[:600]


def read_recipe(folder: Path) -> Mapping[str, Any]:
    """The `recipe.json` beside the data. Raises DatasetError where the folder has no inputs."""
    try:
        return json.loads((folder / RECIPE).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise DatasetError(f"{folder} has no inputs ({error}); `dvc pull` fetches them") from None
