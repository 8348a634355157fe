"""The object store on a real S3 server: conditional writes, interrupted uploads, and every fault of a store."""

import io
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from accident_reco.launch.processes import Children
from accident_reco.storage.objects import (
    ObjectExists,
    ObjectNotFound,
    ObjectStore,
    StoreError,
    SwapConflict,
    open_store,
)
from accident_reco_tests.e2e.conftest import S3, start_s3
from accident_reco_tests.support.contention import count_together
from accident_reco_tests.support.live import wait_for

pytestmark = pytest.mark.e2e
MEBIBYTE = 1 << 20


class _FailingStream(io.BytesIO):
    """Fails after 12 MiB, when the first part of a multipart upload is on the server already."""

    def read(self, size: int = -1) -> bytes:
        if self.tell() > 12 * MEBIBYTE:
            raise OSError("the connection was reset")
        return super().read(size)


def test_every_operation_works_as_on_a_directory(store: ObjectStore) -> None:
    """Create, read, tagged read, swap, list and delete have the same results on S3 as on a directory."""
    tag = store.create("m/pointer.json", b"1")
    with pytest.raises(ObjectExists):
        store.create("m/pointer.json", b"2")
    with pytest.raises(SwapConflict):
        store.swap("m/pointer.json", b"2", None)
    with pytest.raises(SwapConflict):
        store.swap("m/pointer.json", b"2", '"0123"')
    newer = store.swap("m/pointer.json", b"2", tag)
    assert store.read_tagged("m/pointer.json") == (b"2", newer)
    store.write("m/big.bin", io.BytesIO(b"x" * 20 * MEBIBYTE))
    store.write("mm/other", b"")
    with store.open("m/big.bin") as stream:
        assert len(stream.read()) == 20 * MEBIBYTE
    assert store.list("m") == store.list("m/") == ["m/big.bin", "m/pointer.json"]
    assert store.list() == ["m/big.bin", "m/pointer.json", "mm/other"]
    assert store.list("nothing/here") == []
    store.delete("m/pointer.json")
    store.delete("m/pointer.json")
    assert not store.exists("m/pointer.json")
    for read in (store.read, store.open, store.read_tagged):
        with pytest.raises(ObjectNotFound):
            read("m/pointer.json")
    with pytest.raises(SwapConflict):
        store.swap("m/pointer.json", b"3", newer)


def test_a_listing_of_several_pages_is_complete(store: ObjectStore) -> None:
    """S3 lists 1,000 keys a page; without the other pages the model store would lose versions."""
    fs = store._fs
    fs.pipe({f"{store.url}/v/{n:04}/manifest.json": b"{}" for n in range(1005)})
    assert len(store.list("v")) == 1005


def test_an_interrupted_upload_leaves_the_old_object(store: ObjectStore) -> None:
    """The source breaks half-way through a multipart upload: its own error arrives, readers keep the old content."""
    store.write("raw/a.csv", b"old")
    with pytest.raises(OSError, match="reset"):
        store.write("raw/a.csv", _FailingStream(b"x" * 30 * MEBIBYTE))
    assert store.read("raw/a.csv") == b"old"
    assert store.list() == ["raw/a.csv"]
    answer = store._fs.call_s3("list_multipart_uploads", Bucket=store.bucket)
    assert not [u for u in answer.get("Uploads", []) if store.prefix in u["Key"]]


UPLOAD = textwrap.dedent("""
    import sys
    from accident_reco.storage.objects import open_store

    class Slow:
        sent = 0
        def read(self, size=-1):
            if self.sent > 12 << 20:
                print("half", flush=True)
                sys.stdin.read()
            self.sent += 1 << 20
            return b"y" * (1 << 20)

    open_store(sys.argv[1]).write("raw/a.csv", Slow())
""")


def test_a_killed_uploader_leaves_the_old_object(store: ObjectStore, tmp_path: Path) -> None:
    """SIGKILL in the middle of an upload: no partial object is visible, and the next upload succeeds."""
    store.write("raw/a.csv", b"old")
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", UPLOAD, store.url],
        env=os.environ | {"PYTHONPATH": str(root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"half\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stdout.close()
    assert store.read("raw/a.csv") == b"old"
    store.write("raw/a.csv", b"new")
    assert store.read("raw/a.csv") == b"new"


def test_swaps_from_many_threads_all_count(store: ObjectStore) -> None:
    """Compare-and-swap under contention loses no update, by the server's conditional write."""
    assert count_together(store, threads=4, times=5) == 20


OPERATIONS = {
    "read": lambda store: store.read("a"),
    "open": lambda store: store.open("a"),
    "write": lambda store: store.write("a", b"1"),
    "stream": lambda store: store.write("a", io.BytesIO(b"1")),
    "create": lambda store: store.create("a", b"1"),
    "swap": lambda store: store.swap("a", b"1", '"tag"'),
    "exists": lambda store: store.exists("a"),
    "list": lambda store: store.list(),
    "delete": lambda store: store.delete("a"),
}


def _assert_reported(operation: str, store: ObjectStore, hint: str) -> None:
    with pytest.raises(StoreError, match=hint) as error:
        OPERATIONS[operation](store)
    assert type(error.value) is StoreError, "neither absence nor a conflict: the store itself is at fault"
    assert store.url in str(error.value)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_wrong_keys_are_reported(s3: S3, monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    """A wrong secret is never mistaken for an empty store."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    store = _fresh("s3://artifacts/x")
    _assert_reported(operation, store, "AWS_SECRET_ACCESS_KEY")


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name != "delete"])
def test_a_missing_bucket_is_reported(s3: S3, operation: str) -> None:
    """A typo in the bucket's name is never mistaken for an empty store: `no champion yet` would retrain everything."""
    _assert_reported(operation, _fresh("s3://artefacts/x"), "bucket artefacts|rights on artefacts")


@pytest.mark.parametrize("operation", ["read", "write", "exists", "swap"])
def test_an_unreachable_server_is_reported(monkeypatch: pytest.MonkeyPatch, s3: S3, operation: str) -> None:
    """The error comes within seconds and names the setting to check."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    started = time.monotonic()
    _assert_reported(operation, _fresh("s3://artifacts/x"), "AWS_ENDPOINT_URL")
    assert time.monotonic() - started < 15


def test_a_server_that_stops_during_an_upload(
    children: Children, stack_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server stops between two parts: a clear error, no hang, and after a restart the old object is complete."""
    server = start_s3(children, stack_folder / "s3-mortal")
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)
    store = _fresh("s3://artifacts/mortal")
    store.write("raw/a.csv", b"old")

    class Killing(io.BytesIO):
        def read(self, size: int = -1) -> bytes:
            if self.tell() == 12 * MEBIBYTE:
                children.kill("s3")
            return super().read(size)

    with pytest.raises(StoreError, match="write failed"):
        store.write("raw/a.csv", Killing(b"x" * 20 * MEBIBYTE))
    with pytest.raises(StoreError, match="AWS_ENDPOINT_URL"):
        store.read("raw/a.csv")
    again = start_s3(children, stack_folder / "s3-mortal", server)
    assert again.endpoint == server.endpoint
    wait_for(lambda: _reads(store, "raw/a.csv") == b"old", 20)  # it answers before it has found its volumes again
    assert store.list() == ["raw/a.csv"]
    children.kill("s3")


def _reads(store: ObjectStore, key: str) -> bytes | None:
    """An object's content, None while the store cannot tell."""
    try:
        return store.read(key)
    except StoreError:
        return None


def _fresh(url: str) -> ObjectStore:
    """A store whose client reads the environment anew: s3fs keeps one client per set of arguments."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    return open_store(url)
