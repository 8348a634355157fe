"""A directory of backups: every content once, nothing half-written visible, damage found, old ones removed."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from accident_reco.launch.backup_repository import Backup, Repository
from accident_reco.launch.processes import LaunchError


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    made = Repository(tmp_path / "backups")
    with made.writing():
        yield made


def publish(repository: Repository, name: str, **contents: bytes) -> Backup:
    made = Backup(name, "2026-11-27T10:00:00+00:00", "embedded", "1.0", "/srv/home", "stores/store")
    made.files += [repository.add(f"home/{path}", io.BytesIO(data)) for path, data in contents.items()]
    repository.publish(made)
    return made


def blobs(repository: Repository) -> list[bytes]:
    return sorted(path.read_bytes() for path in repository.folder.glob("blobs/*/*"))


def test_a_content_is_kept_once(repository: Repository) -> None:
    """The second backup writes only what is new; both are complete."""
    first = publish(repository, "1", a=b"same", b=b"same", c=b"old")
    assert repository.new_bytes == len(b"same") + len(b"old")
    second = publish(repository, "2", a=b"same", c=b"new!")
    assert repository.new_bytes == len(b"same") + len(b"old") + len(b"new!")
    assert blobs(repository) == [b"new!", b"old", b"same"]
    assert [repository.read(name) for name in ("1", "2")] == [first, second]
    assert repository.read() == second, "the latest"
    target = io.BytesIO()
    repository.copy(second.file("home/c"), target)
    assert target.getvalue() == b"new!"


def test_an_interrupted_backup_is_not_visible(repository: Repository) -> None:
    """Neither a half-written content nor the contents of a backup without its document; the next one cleans up."""

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                raise OSError("the disk is gone")
            return super().read(3)

    publish(repository, "1", a=b"whole")
    with pytest.raises(OSError, match="disk"):
        repository.add("home/b", Broken(b"broken"))
    repository.add("home/c", io.BytesIO(b"unlisted"))
    assert repository.names() == ["1"]
    assert blobs(repository) == [b"unlisted", b"whole"]
    (repository.folder / ".drafts-killed").mkdir()
    (repository.folder / "blobs" / "killed.draft").touch()
    (repository.folder / "backups" / ".2.draft").write_text("{")
    assert repository.names() == ["1"]


def test_what_a_killed_backup_has_left_is_removed(tmp_path: Path) -> None:
    """At the next backup, under the lock."""
    repository = Repository(tmp_path)
    with repository.writing():
        (tmp_path / ".drafts-killed").mkdir()
        (tmp_path / ".drafts-killed" / "warehouse.db").touch()
        (tmp_path / "blobs" / "killed.draft").touch()
    with repository.writing():
        assert not list(tmp_path.glob(".drafts-*"))
        assert not list(tmp_path.glob("blobs/*.draft"))


def test_two_backups_at_once(repository: Repository) -> None:
    """The second is refused."""
    with pytest.raises(LaunchError, match="in progress"), Repository(repository.folder).writing():
        pass


def test_another_directory_is_not_touched(tmp_path: Path) -> None:
    """A directory with other files is no directory of backups, neither to write nor to read."""
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(LaunchError, match="not empty"), Repository(tmp_path).writing():
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]
    with pytest.raises(LaunchError, match=r"holds no complete backup$"):
        Repository(tmp_path).read()
    (tmp_path / "contents.json").write_text("{}")
    with pytest.raises(LaunchError, match="written by an earlier release"):
        Repository(tmp_path).read()


def test_names_and_formats(repository: Repository) -> None:
    """A wrong name lists the right ones; the format of another release is not guessed."""
    made = publish(repository, "1", a=b"x")
    with pytest.raises(LaunchError, match="holds no backup 2; it has 1"):
        repository.read("2")
    with pytest.raises(LaunchError, match="the backup 1 holds no home/b"):
        made.file("home/b")
    document = repository.folder / "backups" / "1.json"
    document.write_text(json.dumps(json.loads(document.read_text()) | {"format": 3}))
    with pytest.raises(LaunchError, match="another release"):
        repository.read("1")


def test_damage_is_found_and_not_restored(repository: Repository) -> None:
    """A changed content, also of the same size, and a missing one; a content of another size is written again."""
    made = publish(repository, "1", a=b"alpha", b=b"beta", c=b"gamma")
    paths = {
        path: repository.folder / "blobs" / made.file(path).sha256[:2] / made.file(path).sha256
        for path in ("home/a", "home/b")
    }
    paths["home/a"].write_bytes(b"alphA")
    paths["home/b"].unlink()
    found = list(repository.problems(made))
    assert [problem.partition(": ")[2] for problem in found] == [
        "the content of home/a is damaged (its sha256 differs)",
        "the content of home/b is missing",
    ]
    with pytest.raises(LaunchError, match="damaged"):
        repository.copy(made.file("home/a"), io.BytesIO())
    paths["home/a"].write_bytes(b"al")
    publish(repository, "2", a=b"alpha", b=b"beta")
    assert list(repository.problems(made)) == []


def test_older_backups_are_removed_with_what_only_they_used(repository: Repository) -> None:
    """What a later one uses stays."""
    for name, data in (("1", b"one"), ("2", b"two"), ("3", b"three")):
        publish(repository, name, shared=b"shared", own=data)
    assert repository.remove_all_but(2) == ["1"]
    assert repository.names() == ["2", "3"]
    assert blobs(repository) == [b"shared", b"three", b"two"]
    assert repository.remove_all_but(5) == []
    assert repository.names() == ["2", "3"]


def test_everything_is_private(repository: Repository) -> None:
    """Contents include keys."""
    publish(repository, "1", key=b"secret")
    modes = {path.stat().st_mode & 0o077 for path in (repository.folder, *repository.folder.rglob("*"))}
    assert modes == {0}
