"""Ratings as Parquet parts: always the rows of the warehouse, whatever happened to the parts or to an import."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sqlalchemy import delete

from accident_reco.models.movies.data import ingest, queries, rating_columns, rating_parts, staged_ratings
from accident_reco.models.movies.data.ingest import SourceFile, import_files
from accident_reco.models.movies.data.rating_columns import open_ratings, read_ratings, read_ratings_until
from accident_reco.models.movies.data.rating_parts import BASE, PartsWriter
from accident_reco.models.movies.data.ratings import Ratings
from accident_reco.models.movies.data.staged_ratings import stage_ratings
from accident_reco.models.movies.data.tables import ratings
from accident_reco.storage.objects import ObjectStore, StoreError
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.movie_ratings import open_store_beside, read_table
from accident_reco_tests.unit.models.movies.conftest import NOW

USERS, MOVIES = 60, 40


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    warehouse = Warehouse(f"sqlite:///{tmp_path / 'w.db'}")
    warehouse.upgrade()
    yield warehouse
    warehouse.close()


@pytest.fixture
def store(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """A store whose parts hold 100 rows in groups of 30, so that a small file has several."""
    monkeypatch.setattr(rating_parts, "ROW_GROUP_ROWS", 30)
    monkeypatch.setattr(rating_parts, "PART_ROWS", 100)
    return open_store_beside(warehouse)


def build_file(seed: int) -> bytes:
    """Ratings of about a third of all pairs, in no order."""
    random = np.random.default_rng(seed)
    pairs = random.permutation(USERS * MOVIES)[: USERS * MOVIES // 3]
    rows = (f"{pair // MOVIES + 1},{pair % MOVIES + 1},{random.integers(1, 11) / 2},{NOW - pair}" for pair in pairs)
    return ("userId,movieId,rating,timestamp\n" + "\n".join(rows) + "\n").encode()


def load(warehouse: Warehouse, store: ObjectStore, seed: int) -> None:
    titles = "movieId,title,genres\n" + "".join(f"{movie},M{movie},Drama\n" for movie in range(1, MOVIES + 1))

    def file(name: str, content: bytes) -> SourceFile:
        return SourceFile(name, hashlib.sha256(content).hexdigest(), lambda: io.BytesIO(content))

    files = (file("ratings.csv", build_file(seed)), file("movies.csv", titles.encode()))
    import_files(warehouse, store, *files, "directory", NOW)


def receive(warehouse: Warehouse, rows: list[tuple[int, int, float]], at: int, *, simulated: bool = False) -> None:
    user, movie, stars = (np.array(values) for values in zip(*rows, strict=True))
    columns = {"user_id": user, "movie_id": movie, "rating": stars, "rated_at": np.full(len(rows), NOW)}
    queries.add_ratings(warehouse, columns, simulated=simulated, received_at=at)


def assert_same(warehouse: Warehouse, store: ObjectStore) -> None:
    """The columns are the table's rows, each once, with their types."""
    found = read_ratings(store, warehouse)
    order = np.lexsort((found.ratings.movie_id, found.ratings.user_id))
    for name, values in read_table(warehouse).items():
        column = (found.simulated if name == "simulated" else getattr(found.ratings, name))[order]
        assert (name, column.dtype, column.tolist()) == (name, values.dtype, values.tolist())


def list_parts(store: ObjectStore) -> list[str]:
    return [key for key in store.list(BASE) if key.endswith(".parquet")]


def test_parts_are_typed_sorted_and_listed(warehouse: Warehouse, store: ObjectStore) -> None:
    """Engines read them by their URLs: typed columns without nulls, each part sorted, every pair once."""
    load(warehouse, store, 1)
    opened = open_ratings(store, warehouse)
    assert [part.rows for part in opened.manifest.parts] == [100] * 8
    seen: set[tuple[int, int]] = set()
    for url, part in zip(opened.urls, opened.manifest.parts, strict=True):
        path = Path(url.removeprefix("file://"))
        file = pq.ParquetFile(path)
        kinds = {name: str(file.schema_arrow.field(name).type) for name in file.schema_arrow.names}
        assert kinds == {"user_id": "int32", "movie_id": "int32", "rating": "float", "rated_at": "int64"}
        assert not any(file.schema_arrow.field(name).nullable for name in kinds)
        assert file.num_row_groups == 4
        frame = file.read().to_pandas()
        pairs = list(zip(frame["user_id"], frame["movie_id"], strict=True))
        assert pairs == sorted(pairs)
        assert (frame["user_id"].min(), frame["user_id"].max()) == (part.min_user, part.max_user)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == part.sha256
        assert path.stem.split("-")[1] == part.sha256[:16]
        seen |= set(pairs)
    assert len(seen) == opened.manifest.rows == 800
    assert_same(warehouse, store)


def test_received_ratings_take_the_place_of_the_files(warehouse: Warehouse, store: ObjectStore) -> None:
    """Changed, new and simulated ones, of several times; and some users' ratings as of an earlier time."""
    load(warehouse, store, 1)
    rows = read_table(warehouse)
    first = [(int(rows["user_id"][at]), int(rows["movie_id"][at]), 0.5) for at in (0, 150, 799)]
    receive(warehouse, [*first, (900, 1, 4.0)], 1_000)
    receive(warehouse, [(901, movie, 2.0) for movie in range(1, 6)], 2_000, simulated=True)
    assert_same(warehouse, store)
    assert read_ratings(store, warehouse).received_until == 2_000
    users = np.array([901, first[0][0], 900, 900, 77_777])
    for until in (0, 999, 1_000, 2_000):
        found = read_ratings_until(store, warehouse, users, until)
        now = read_table(warehouse)
        late = {(user, movie) for user, movie, _ in [*first, (900, 1, 4.0)] if until < 1_000}
        late |= {(901, movie) for movie in range(1, 6) if until < 2_000}
        expected = [
            row
            for row in zip(*(now[name].tolist() for name in vars(found)), strict=True)
            if row[0] in users and row[:2] not in late
        ]
        assert list(zip(*(values.tolist() for values in vars(found).values()), strict=True)) == expected


@pytest.mark.parametrize("until", [0, 1_000, 2_000])
def test_a_cluster_gets_the_rows_that_a_training_reads(
    warehouse: Warehouse, store: ObjectStore, monkeypatch: pytest.MonkeyPatch, until: int
) -> None:
    """By URLs, in blocks, while the job lasts; what a killed run left is deleted, and lost parts are written again."""
    load(warehouse, store, 1)
    rows = read_table(warehouse)
    receive(warehouse, [(int(rows["user_id"][at]), int(rows["movie_id"][at]), 0.5) for at in (0, 150)], 1_000)
    receive(warehouse, [(901, movie, 2.0) for movie in range(1, 6)], 2_000, simulated=True)
    monkeypatch.setattr(staged_ratings, "BLOCK_ROWS", 3)
    store.write(f"{staged_ratings.BASE}/killed/received/00000.parquet", b"left")
    store.delete(list_parts(store)[2])
    with stage_ratings(store, warehouse, until) as staged:
        parts, received = (
            pd.concat([pd.read_parquet(url.removeprefix("file://")) for url in urls])
            for urls in (staged.parts, staged.received)
        )
        assert len(staged.received) == 3
        assert all(url.startswith(f"{staged.work}/received/") for url in staged.received)
        assert len(store.list(staged_ratings.BASE)) == 3
    assert store.list(staged_ratings.BASE) == []
    assert received.dtypes.astype(str).to_dict() == parts.dtypes.astype(str).to_dict() | {
        "simulated": "bool",
        "received_at": "int64",
    }
    replaced = pd.MultiIndex.from_frame(parts[["user_id", "movie_id"]]).isin(
        pd.MultiIndex.from_frame(received[["user_id", "movie_id"]])
    )
    counted = pd.concat([parts[~replaced], received[received["received_at"] <= until]])
    users = np.unique(np.append(rows["user_id"], 901))
    expected = read_ratings_until(store, warehouse, users, until)
    found = Ratings.from_frame(counted).sort_by_user()
    assert {name: values.tolist() for name, values in vars(found).items()} == {
        name: values.tolist() for name, values in vars(expected).items()
    }
    assert received["simulated"].sum() == 5


def test_a_home_without_parts_gets_them_from_its_warehouse(warehouse: Warehouse, store: ObjectStore) -> None:
    """An upgrade, or a restored warehouse: the first read writes parts, the second finds them."""
    assert_same(warehouse, store)  # nothing at all is stored
    load(warehouse, store, 1)
    receive(warehouse, [(1, movie, 1.5) for movie in range(1, 20)], 1_000)
    for key in store.list(BASE):
        store.delete(key)
    assert_same(warehouse, store)
    written = store.list_tagged()
    assert list_parts(store)
    assert_same(warehouse, store)
    assert store.list_tagged() == written
    load(warehouse, store, 2)
    assert_same(warehouse, store)


def test_rows_deleted_from_the_warehouse_leave_the_parts(warehouse: Warehouse, store: ObjectStore) -> None:
    """The erasure of a user's ratings: no later training reads them, and no object holds them."""
    load(warehouse, store, 1)
    receive(warehouse, [(7, movie, 1.5) for movie in range(1, 20)], 1_000)
    with warehouse.begin() as connection:
        connection.execute(delete(ratings).where(ratings.c.user_id == 7))
    assert_same(warehouse, store)
    held = np.concatenate(
        [
            pq.read_table(url.removeprefix("file://"))["user_id"].to_numpy()
            for url in open_ratings(store, warehouse).urls
        ]
    )
    assert 7 not in held
    assert len(list_parts(store)) == len(open_ratings(store, warehouse).urls)


@pytest.mark.parametrize("at", ["part", "manifest", "commit", "deletion"])
def test_a_killed_import_leaves_what_was_there(
    warehouse: Warehouse, store: ObjectStore, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Wherever it ends; the next import deletes what it left."""
    load(warehouse, store, 1)
    before = read_table(warehouse)
    with monkeypatch.context() as patch:
        if at in ("part", "manifest"):
            written = 0

            def write(key: str, data: bytes) -> None:
                nonlocal written
                written += 1
                if (at == "part" and written == 3) or (at == "manifest" and key.endswith("manifest.json")):
                    raise KeyboardInterrupt
                original(key, data)

            original = store.write
            patch.setattr(store, "write", write)
        else:
            name = "finish_load" if at == "commit" else "delete_former"
            patch.setattr(ingest.imports if at == "commit" else ingest, name, _interrupt)
        with pytest.raises(KeyboardInterrupt):
            load(warehouse, store, 2)
    if at != "deletion":
        assert {name: values.tolist() for name, values in read_table(warehouse).items()} == {
            name: values.tolist() for name, values in before.items()
        }
    assert_same(warehouse, store)
    load(warehouse, store, 3)
    assert_same(warehouse, store)
    assert set(list_parts(store)) == {part.key for part in open_ratings(store, warehouse).manifest.parts}


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_lost_parts_are_written_again_and_damaged_ones_reported(warehouse: Warehouse, store: ObjectStore) -> None:
    """A missing object is replaced from the warehouse; a changed one is never read."""
    load(warehouse, store, 1)
    store.delete(list_parts(store)[2])
    assert_same(warehouse, store)
    key = list_parts(store)[0]
    store.write(key, store.read(key)[:-1] + b"!")
    with pytest.raises(StoreError, match=r"is damaged: its digest is not that of the manifest; fix: delete it"):
        read_ratings(store, warehouse)
    store.delete(key)
    assert_same(warehouse, store)


def test_a_read_that_an_import_overtakes_begins_anew(
    warehouse: Warehouse, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parts that it had opened are gone: it returns all ratings of the new import, none of the old one."""
    load(warehouse, store, 1)
    opened = []

    def open_then_import(*arguments: object, **options: object) -> object:
        opened.append(original(*arguments, **options))  # type: ignore[arg-type]
        if len(opened) == 1:
            load(warehouse, store, 2)
        return opened[-1]

    original = rating_columns._open
    monkeypatch.setattr(rating_columns, "_open", open_then_import)
    found = read_ratings(store, warehouse).ratings.sort_by_user()
    assert len(opened) == 2
    assert found.rating.tolist() == read_table(warehouse)["rating"].tolist()


def test_parts_of_an_unknown_layout_are_not_read(warehouse: Warehouse, store: ObjectStore) -> None:
    """A later release may write others: this one writes its own from the warehouse."""
    load(warehouse, store, 1)
    (key,) = (key for key in store.list(BASE) if key.endswith("manifest.json"))
    store.write(key, json.dumps({**json.loads(store.read(key)), "format": 99, "parts": [{"name": "x"}]}).encode())
    assert_same(warehouse, store)


def test_only_row_groups_of_the_users_are_decoded(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Histories of a few users of a large file: parts and groups without them are left out."""
    writer = PartsWriter(store, 1, "x")
    users = np.repeat(np.arange(1, 101), 10)
    writer.add(Ratings.from_columns(users, np.tile(np.arange(10), 100), np.full(1_000, 4), np.full(1_000, NOW)))
    manifest = writer.finish()
    groups: list[int] = []
    original = pq.ParquetFile.read_row_groups

    def read(self: pq.ParquetFile, wanted: list[int], **options: object) -> object:
        groups.append(len(wanted))
        return original(self, wanted, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", read)
    found = Ratings.concatenate(list(rating_parts.iterate_parts(store, manifest, np.array([5, 95]))))
    assert np.unique(found.user_id, return_counts=True)[0].tolist() == [5, 95]
    assert len(found) == 20
    assert groups == [1, 1]
