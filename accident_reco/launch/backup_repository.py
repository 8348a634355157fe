"""A directory of backups: contents under their SHA-256, each once, and one document per backup that lists them.

A document appears last, in one step, so that an interrupted backup is never visible; the contents that it wrote are
used by the next one. Holds nothing about what is backed up. Everything is readable by its owner alone.

    blobs/ab/abcd…      contents
    backups/NAME.json   one backup: its files with path, hash and size
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from accident_reco.launch.private_files import private_files
from accident_reco.launch.processes import LaunchError

CHUNK = 1 << 20
FORMAT = 2
DRAFTS = ".drafts-"


@dataclass(frozen=True)
class SavedFile:
    """A file of a backup.

    Args:
        path: `home/…`, `datasets/…`, `postgres/NAME.dump`, or `stores/NAME/KEY`.
        sha256: of its content.
        size: in bytes.
        mode: access rights.
        tag: the store's own tag of the content (S3: ETag), by which an unchanged object is recognised; else empty.
    """

    path: str
    sha256: str
    size: int
    mode: int = 0o600
    tag: str = ""


@dataclass
class Backup:
    """The document of a backup.

    Args:
        kind: `embedded`, `stack`, or `servers` (databases and stores of other operators).
        model_store: path of the model store among the files.
        stores: name → URL of each store.
        tables: `postgres/NAME.dump` or `home/….db` → table → rows, counted in the snapshot that was saved.
        champions: model → its production version.
        left_out: what of the installation is not in the backup → why.
    """

    name: str
    at: str
    kind: str
    package: str
    home: str
    model_store: str
    stores: dict[str, str] = field(default_factory=dict)
    tables: dict[str, dict[str, int]] = field(default_factory=dict)
    champions: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    files: list[SavedFile] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def file(self, path: str) -> SavedFile:
        """The file of a path. Raises LaunchError."""
        for file in self.files:
            if file.path == path:
                return file
        raise LaunchError(f"the backup {self.name} holds no {path}")

    def below(self, prefix: str) -> Iterator[tuple[str, SavedFile]]:
        """Path within a folder of the backup, and file, of each file there."""
        for file in self.files:
            if file.path.startswith(f"{prefix}/"):
                yield file.path.removeprefix(f"{prefix}/"), file


class Repository:
    """Backups in a directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.new_bytes = 0
        """Bytes of contents that were not there before."""

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Create the directory if it is missing, and hold its lock.

        Raises:
            LaunchError: another backup is being written, or the directory holds something else.
        """
        if self.folder.exists() and any(self.folder.iterdir()) and not (self.folder / "backups").is_dir():
            raise LaunchError(f"{self.folder} is not empty and holds no backups; fix: choose a new directory")
        with private_files():
            for folder in (self.folder, self.folder / "blobs", self.folder / "backups"):
                folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / "lock").open("w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise LaunchError(f"another backup into {self.folder} is in progress") from None
                self._remove_drafts()  # of a backup that was killed
                yield

    @contextmanager
    def drafts(self) -> Iterator[Path]:
        """A directory for files that are made to be added; it is removed afterwards."""
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=DRAFTS) as folder:
            yield Path(folder)

    def names(self) -> list[str]:
        """Names of the backups, oldest first."""
        return sorted(path.stem for path in (self.folder / "backups").glob("*.json") if not path.name.startswith("."))

    def read(self, name: str | None = None) -> Backup:
        """A backup, by default the latest.

        Raises:
            LaunchError: there is none of this name, or none at all.
        """
        names = self.names()
        if not names:
            old = "; it was written by an earlier release: restore it with that one"
            hint = old if (self.folder / "contents.json").exists() else ""
            raise LaunchError(f"{self.folder} holds no complete backup{hint}")
        if name is not None and name not in names:
            raise LaunchError(f"{self.folder} holds no backup {name}; it has {', '.join(names)}")
        document: dict[str, Any] = json.loads(self._document(name or names[-1]).read_text(encoding="utf-8"))
        if document.pop("format") != FORMAT:
            raise LaunchError(f"{self.folder}: the backup {name or names[-1]} was written by another release")
        files = [SavedFile(**file) for file in document.pop("files")]
        return Backup(**document, files=files)

    def add(self, path: str, source: IO[bytes], mode: int = 0o600, tag: str = "") -> SavedFile:
        """Store a content that is not there yet."""
        digest, size = hashlib.sha256(), 0
        draft = self.folder / "blobs" / f"{secrets.token_hex(8)}.draft"
        try:
            with draft.open("xb") as copy:
                while chunk := source.read(CHUNK):
                    digest.update(chunk)
                    size += len(chunk)
                    copy.write(chunk)
            saved = SavedFile(path, digest.hexdigest(), size, mode, tag)
            if not self.has(saved):
                self._blob(saved).parent.mkdir(exist_ok=True)
                draft.replace(self._blob(saved))
                self.new_bytes += size
        finally:
            draft.unlink(missing_ok=True)
        return saved

    def has(self, file: SavedFile) -> bool:
        """Whether the content of a file is there, by its name and size."""
        blob = self._blob(file)
        return blob.is_file() and blob.stat().st_size == file.size

    def publish(self, backup: Backup) -> None:
        """Make a backup visible, after everything that it lists is on the disk."""
        os.sync()
        draft = self.folder / "backups" / f".{backup.name}.draft"
        with draft.open("w", encoding="utf-8") as file:
            json.dump({"format": FORMAT, **asdict(backup)}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._document(backup.name))

    def remove_all_but(self, keep: int) -> list[str]:
        """Remove older backups and what only they used; returns their names.

        Args:
            keep: number of latest backups that stay.
        """
        removed = self.names()[:-keep]
        for name in removed:
            self._document(name).unlink()
        used = {file.sha256 for name in self.names() for file in self.read(name).files}
        for blob in self.folder.glob("blobs/*/*"):
            if blob.name not in used:
                blob.unlink()
        return removed

    def problems(self, backup: Backup) -> Iterator[str]:
        """Contents of a backup that are missing or damaged."""
        for file in {file.sha256: file for file in backup.files}.values():
            try:
                with self.open(file):
                    pass
            except LaunchError as error:
                yield str(error)

    def copy(self, file: SavedFile, target: IO[bytes]) -> None:
        """Write the content of a file.

        Raises:
            LaunchError: it is missing, or is not what was saved.
        """
        with self.open(file) as source:
            while chunk := source.read(CHUNK):
                target.write(chunk)

    @contextmanager
    def open(self, file: SavedFile) -> Iterator[IO[bytes]]:
        """The content of a file, which is checked first. Raises as `copy`."""
        try:
            stream = self._blob(file).open("rb")
        except FileNotFoundError:
            raise LaunchError(f"{self.folder}: the content of {file.path} is missing") from None
        with stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != file.sha256:
                raise LaunchError(f"{self.folder}: the content of {file.path} is damaged (its sha256 differs)")
            stream.seek(0)
            yield stream

    def _remove_drafts(self) -> None:
        for draft in self.folder.glob("blobs/*.draft"):
            draft.unlink()
        for folder in self.folder.glob(f"{DRAFTS}*"):
            shutil.rmtree(folder)

    def _blob(self, file: SavedFile) -> Path:
        return self.folder / "blobs" / file.sha256[:2] / file.sha256

    def _document(self, name: str) -> Path:
        return self.folder / "backups" / f"{name}.json"
