"""Ratings in the warehouse: imports that repeat and replace, histories, received ratings."""

from __future__ import annotations

import gc
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import event, inspect, select, update

from accident_reco.lifecycle.holdout import pairs_in_holdout
from accident_reco.models.movies.data import imports, queries, rating_table
from accident_reco.models.movies.data.ingest import ImportResult, SourceFile, import_files
from accident_reco.models.movies.data.rating_columns import read_ratings, read_ratings_until
from accident_reco.models.movies.data.ratings import Ratings, build_pair_keys
from accident_reco.models.movies.data.sample import SampleSpec, generate_movies_csv, generate_ratings_csv
from accident_reco.models.movies.data.split import SplitOptions, iterate_folds, mask_k_core, split
from accident_reco.models.movies.data.tables import rating_quarantine, ratings
from accident_reco.models.movies.training import loading
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.movie_ratings import open_store_beside, read_table
from accident_reco_tests.unit.models.movies.conftest import NOW

MOVIES = b"movieId,title,genres\n10,X (1995),Drama\n20,Y,(no genres listed)\n30,Z (2001),Comedy|War\n"
HEADER = b"userId,movieId,rating,timestamp\n"
FIRST = HEADER + b"1,10,4.0,964982703\n1,20,3.0,964982703\n2,10,5.0,964982703\n2,99,5.0,964982703\n"
SECOND = HEADER + b"1,10,2.0,964982703\n3,30,5.0,964982703\n"


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    warehouse = Warehouse(f"sqlite:///{tmp_path / 'w.db'}")
    warehouse.upgrade()
    yield warehouse
    warehouse.close()


def load(warehouse: Warehouse, ratings: bytes, movies: bytes = MOVIES) -> ImportResult:
    """Import files under names of their content."""
    import hashlib

    def file(name: str, content: bytes) -> SourceFile:
        return SourceFile(name, hashlib.sha256(content).hexdigest(), lambda: io.BytesIO(content))

    return import_files(
        warehouse,
        open_store_beside(warehouse),
        file("ratings.csv", ratings),
        file("movies.csv", movies),
        "directory",
        NOW,
    )


def stored(warehouse: Warehouse) -> dict[tuple[int, int], float]:
    """The warehouse's ratings, which the columns have, too."""
    found = read_table(warehouse)
    columns = read_columns(warehouse)
    assert {name: values.tolist() for name, values in columns.items()} == {
        name: values.tolist() for name, values in found.items()
    }
    pairs = zip(found["user_id"].tolist(), found["movie_id"].tolist(), strict=True)
    return dict(zip(pairs, found["rating"].tolist(), strict=True))


def read_columns(warehouse: Warehouse) -> dict[str, np.ndarray]:
    """The ratings as a training reads them, by user and movie, as `read_table` returns those of the warehouse."""
    found = read_ratings(open_store_beside(warehouse), warehouse)
    order = np.lexsort((found.ratings.movie_id, found.ratings.user_id))
    return {**vars(found.ratings.take(order)), "simulated": found.simulated[order]}


def columns(*rows: tuple[int, int, float]) -> dict[str, np.ndarray]:
    user, movie, stars = zip(*rows, strict=True)
    return {
        "user_id": np.array(user),
        "movie_id": np.array(movie),
        "rating": np.array(stars),
        "rated_at": np.full(len(rows), NOW),
    }


def test_import_keeps_valid_rows_and_quarantines_others_with_reason(warehouse: Warehouse) -> None:
    """Three ratings and three movies in, one row in quarantine with its line."""
    done = load(warehouse, FIRST)
    assert (done.rows, done.quarantined, done.movies, done.by_rule) == (3, 1, 3, {"unknown_movie": 1})
    assert stored(warehouse) == {(1, 10): 4.0, (1, 20): 3.0, (2, 10): 5.0}
    assert queries.read_movies(warehouse) == [(10, "X (1995)", "Drama"), (20, "Y", ""), (30, "Z (2001)", "Comedy|War")]
    with warehouse.connect() as connection:
        (row,) = connection.execute(select(rating_quarantine)).all()
    assert (row.line, row.movie_id) == (5, "99")
    assert row.reason == "ratings.csv line 5: movie 99 is not in the movies file; row kept in quarantine"


def test_the_same_files_again_change_nothing(warehouse: Warehouse) -> None:
    """The second import reads no rating; the counts and reasons are those of the first."""
    first = load(warehouse, FIRST)
    again = load(warehouse, FIRST)
    assert (again.fresh, again.load_id, again.rows, again.quarantined) == (False, first.load_id, 3, 1)
    assert (again.by_rule, again.examples) == (first.by_rule, first.examples)
    assert "movie 99 is not in the movies file" in again.examples[0]


def test_new_file_replaces_rows_of_the_old_one(warehouse: Warehouse) -> None:
    """Corrected ratings change, missing ones are removed, quarantine is that of the new file; received ratings stay."""
    load(warehouse, FIRST)
    queries.add_ratings(warehouse, columns((2, 10, 1.0), (7, 20, 3.5)), simulated=False, received_at=5_000)
    load(warehouse, SECOND)
    assert stored(warehouse) == {(1, 10): 2.0, (2, 10): 1.0, (3, 30): 5.0, (7, 20): 3.5}
    with warehouse.connect() as connection:
        assert connection.execute(select(rating_quarantine)).all() == []


class Killed(BaseException):
    """The end of a process, which no `except Exception` handles."""


# Who is killed closes nothing; Python 3.13 tells so when the connection is collected.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <sqlite3.Connection:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("at", ["prepared", "received", "dropped", "renamed", "indexed", "catalogue"])
def test_killed_import_leaves_what_was_there(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """Import A, kill the import of B at any step: rows and catalogue are those of A, whichever files come next."""
    load(warehouse, FIRST)
    queries.add_ratings(warehouse, columns((7, 20, 3.5)), simulated=False, received_at=5_000)
    tables = list_tables(warehouse)
    before, other = stored(warehouse), b"movieId,title,genres\n10,Renamed,Drama\n30,Z (2001),Comedy|War\n"
    statement = {
        "received": "INSERT OR REPLACE",
        "dropped": "ALTER TABLE ratings_next_",
        "renamed": "CREATE INDEX ix_ratings_received_at",
        "indexed": "DELETE FROM movies",
        "catalogue": "INSERT INTO movies",
    }

    def kill(_connection: object, _cursor: object, sql: str, *_: object) -> None:
        if at in statement and sql.strip().startswith(statement[at]) and started:
            raise Killed

    started: list[bool] = []

    def killed_before(*arguments: object, **options: object) -> None:
        started.append(True)
        if at == "prepared":
            raise Killed
        finish(*arguments, **options)  # type: ignore[arg-type]

    finish = imports.finish_load
    event.listen(warehouse.engine, "before_cursor_execute", kill)
    with monkeypatch.context() as patch:
        patch.setattr(imports, "finish_load", killed_before)
        with pytest.raises(Killed):
            load(warehouse, SECOND, other)
    gc.collect()
    event.remove(warehouse.engine, "before_cursor_execute", kill)
    assert stored(warehouse) == before
    assert queries.read_movies(warehouse)[0] == (10, "X (1995)", "Drama")

    again = load(warehouse, FIRST)
    assert not again.fresh
    assert stored(warehouse) == before
    assert load(warehouse, SECOND, other).fresh
    assert stored(warehouse) == {(1, 10): 2.0, (3, 30): 5.0, (7, 20): 3.5}
    assert list_tables(warehouse) == tables


def list_tables(warehouse: Warehouse) -> set[str]:
    with warehouse.connect() as connection:
        return set(inspect(connection).get_table_names())


def test_rows_that_an_older_release_left_mixed_are_imported_again(warehouse: Warehouse) -> None:
    """Its imports wrote in place: after a kill the same files again were called imported, over rows of two files."""
    load(warehouse, FIRST)
    killed = imports.start_load(warehouse, "b" * 64, "c" * 64, "directory")
    with warehouse.begin() as connection:
        connection.execute(update(ratings).where(ratings.c.movie_id == 20).values(rating=1.0, load_id=killed))
    assert load(warehouse, FIRST).fresh
    assert stored(warehouse) == {(1, 10): 4.0, (1, 20): 3.0, (2, 10): 5.0}


def test_an_import_that_another_one_overtook_replaces_nothing(warehouse: Warehouse) -> None:
    """The later one discarded what was staged: the earlier one must not complete with a part of its rows."""
    load(warehouse, FIRST)
    tables, before = list_tables(warehouse), stored(warehouse)
    catalogue = pd.DataFrame({"movie_id": [30], "title": ["Z"], "genres": [""], "year": [-1]})
    first, second, third = ([Ratings(**columns((user, 30, 2.0)))] for user in (1, 4, 5))

    def finish(load_id: int, parts: list[Ratings]) -> None:
        imports.finish_load(warehouse, load_id, catalogue, parts, rows=1, quarantined=0)

    def start_between() -> Iterator[Ratings]:
        yield from first
        imports.start_load(warehouse, "d" * 64, "e" * 64, "directory")
        yield from second

    earlier = imports.start_load(warehouse, "b" * 64, "c" * 64, "directory")
    message = f"while import {earlier} was running; nothing was replaced"
    with pytest.raises(rating_table.ImportInterrupted, match=message):
        rating_table.prepare(warehouse, earlier, start_between())
    with pytest.raises(rating_table.ImportInterrupted, match=message):
        finish(earlier, first)
    assert stored(warehouse) == before == {(1, 10): 4.0, (1, 20): 3.0, (2, 10): 5.0}
    rating_table.prepare(warehouse, earlier + 1, third)
    finish(earlier + 1, third)
    assert stored(warehouse) == {(5, 30): 2.0}
    assert list_tables(warehouse) == tables


def test_file_without_a_valid_row_replaces_nothing(warehouse: Warehouse) -> None:
    """A wrong movies file would empty the table: rejected, with the first reason."""
    load(warehouse, FIRST)
    with pytest.raises(ValueError, match=r"no valid rating among 1 rows, so nothing was replaced; first: ratings\.csv"):
        load(warehouse, HEADER + b"1,10,4.0,964982703\n", b"movieId,title,genres\n77,Other,Drama\n")
    assert len(stored(warehouse)) == 3
    assert len(queries.read_movies(warehouse)) == 3


def test_received_ratings(warehouse: Warehouse) -> None:
    """New, changed, the same; a simulated rating never replaces anything, a real one replaces a simulated one."""
    load(warehouse, FIRST)
    add = queries.add_ratings
    assert add(warehouse, columns((1, 10, 4.0), (1, 20, 1.0), (9, 30, 2.0)), simulated=False, received_at=1_000) == {
        "inserted": 1,
        "updated": 1,
        "unchanged": 1,
    }
    assert add(warehouse, columns((1, 20, 5.0), (9, 10, 5.0)), simulated=True, received_at=2_000) == {
        "inserted": 1,
        "updated": 0,
        "unchanged": 1,
    }
    assert add(warehouse, columns((9, 10, 5.0)), simulated=False, received_at=3_000)["updated"] == 1
    found = read_ratings(open_store_beside(warehouse), warehouse)
    assert found.received_until == 3_000
    assert not found.simulated.any()
    window = queries.read_received_ratings(warehouse, 900, 3_000, limit=10)
    assert list(zip(window["user_id"], window["movie_id"], window["rating"], strict=True)) == [
        (1, 20, 1.0),
        (9, 30, 2.0),
    ]
    histories = queries.read_user_histories(warehouse, [1, 2, 9, 10], newer_than=1_000)
    assert {user: (len(h["movie_id"]), h["newer"]) for user, h in histories.items()} == {
        1: (2, False),
        2: (1, False),
        9: (2, True),
    }
    newest = queries.read_received_ratings(warehouse, 900, 4_000, limit=2)
    assert newest["received_at"].tolist() == [1_000, 3_000]
    assert (queries.count_received(warehouse, 999), queries.count_received(warehouse, 1_000)) == (3, 1)
    assert queries.select_existing_users(warehouse, [1, 5, 9]) == {1, 9}
    assert queries.select_known_movies(warehouse, [10, 20, 99]) == {10, 20}


def test_ratings_until_are_those_that_a_training_read(warehouse: Warehouse) -> None:
    """For some users exactly the rows that the training read, whatever was received later."""
    load(warehouse, FIRST)
    queries.add_ratings(warehouse, columns((1, 20, 1.0), (7, 30, 2.0)), simulated=True, received_at=1_000)
    store = open_store_beside(warehouse)
    training = read_ratings(store, warehouse)
    assert training.received_until == 1_000
    queries.add_ratings(warehouse, columns((1, 30, 5.0), (2, 20, 5.0)), simulated=False, received_at=1_001)

    known = read_ratings_until(store, warehouse, np.array([7, 1, 1, 99]), training.received_until)
    trained = training.ratings.take(np.isin(training.ratings.user_id, [1, 7])).sort_by_user()
    for name, values in vars(trained).items():
        assert getattr(known, name).tolist() == values.tolist()
        assert getattr(known, name).dtype == values.dtype
    assert known.user_id.tolist() == [1, 1, 7]
    assert len(read_ratings_until(store, warehouse, np.array([99]), 1_000)) == 0


def test_a_sample_round_trips(warehouse: Warehouse) -> None:
    """Every kept row of a generated file, through SQL and back, column by column."""
    spec = SampleSpec(ratings=4_000, seed=2, bad_rows=5_000)
    done = load(warehouse, b"".join(generate_ratings_csv(spec)), generate_movies_csv(spec))
    found = read_columns(warehouse)
    assert len(found["simulated"]) == done.rows == len(stored(warehouse))
    assert sum(done.by_rule.values()) == done.quarantined > 3
    assert {kind.str for kind in (found["user_id"].dtype, found["rating"].dtype)} == {"<i8", "<f4"}
    users = found.pop("user_id")
    assert not found.pop("simulated").any()
    histories = queries.read_user_histories(warehouse, np.unique(users).tolist(), newer_than=0)
    for user, history in histories.items():
        assert not history.pop("newer")
        for name, values in found.items():
            assert history[name].dtype == values.dtype
            assert history[name].tolist() == values[users == user].tolist()


def test_a_training_reads_whole_users_up_to_its_bound(warehouse: Warehouse) -> None:
    """About the maximum of ratings, whole users; the smaller set is a subset of the larger; the rest is counted."""
    spec = SampleSpec(ratings=12_000, seed=4)
    load(warehouse, b"".join(generate_ratings_csv(spec)), generate_movies_csv(spec))
    store = open_store_beside(warehouse)
    everything = read_ratings(store, warehouse)
    total = len(everything.simulated)
    assert everything.stored == total == queries.count_data(warehouse)["rows"]
    sizes = dict(zip(*np.unique(everything.ratings.user_id, return_counts=True), strict=True))
    read, users = {}, {}
    for limit in (total // 4, total // 2, total, 0):
        loaded = loading.load_split(store, warehouse, SplitOptions(1, 1), limit)
        found = loaded.split
        both = np.concatenate([found.train.user_id, found.holdout.user_id])
        users[limit] = set(both.tolist())
        read[limit] = len(both)
        assert read[limit] == sum(sizes[user] for user in users[limit])
        left = sum(count for reason, count in found.excluded.items() if "beyond the bound" in reason)
        assert left == total - read[limit]
        setting = "ACCIDENT_RECO_MOVIES_MAX_RATINGS"
        assert loaded.sample == ({"ratings": read[limit], "of": total, "setting": setting} if left else None)
    assert read[total] == read[0] == total
    assert read[total // 2] == pytest.approx(total / 2, rel=0.35)
    assert users[total // 4] < users[total // 2] < users[total]


def test_split_is_frozen_by_hash() -> None:
    """The holdout depends on the pair alone: not on order, on other rows, or on the filter."""
    random = np.random.default_rng(0)
    pairs = np.unique(random.integers(1, 200, (4_000, 2)), axis=0)
    ratings = Ratings.from_columns(pairs[:, 0], pairs[:, 1], np.full(len(pairs), 4.0), np.full(len(pairs), NOW))
    simulated = random.random(len(pairs)) < 0.3
    options = SplitOptions(3, 3)
    parts = split(ratings, simulated, options)
    held = pairs_in_holdout(ratings.user_id, ratings.movie_id, 0.2)
    assert set(build_pair_keys(parts.holdout.user_id, parts.holdout.movie_id).tolist()) == set(
        build_pair_keys(ratings.user_id[held & ~simulated], ratings.movie_id[held & ~simulated]).tolist()
    )
    assert not pairs_in_holdout(parts.train.user_id, parts.train.movie_id, 0.2).any()
    simulated_keys = set(build_pair_keys(ratings.user_id[simulated], ratings.movie_id[simulated]).tolist())
    marked = [key in simulated_keys for key in build_pair_keys(parts.train.user_id, parts.train.movie_id).tolist()]
    assert parts.simulated.tolist() == marked
    assert parts.excluded["simulated in the holdout"] == int((held & simulated).sum()) > 0
    order = random.permutation(len(pairs))[:2_000]
    some = split(ratings.take(order), simulated[order], options)
    assert set(build_pair_keys(some.holdout.user_id, some.holdout.movie_id).tolist()) <= set(
        build_pair_keys(parts.holdout.user_id, parts.holdout.movie_id).tolist()
    )


def test_filter_repeats_until_all_have_their_minimum() -> None:
    """Excluding a movie may leave a user with too few ratings."""
    ratings = Ratings.from_columns([1, 1, 2, 2, 3, 3, 3], [1, 2, 1, 2, 1, 2, 9], [4] * 7, [NOW] * 7)
    assert mask_k_core(ratings, 2, 2).tolist() == [True] * 6 + [False]
    assert mask_k_core(ratings, 3, 2).tolist() == [False] * 7


def test_folds_are_the_same_for_every_candidate() -> None:
    """Seeded, disjoint, complete."""
    first, again = list(iterate_folds(100, 5)), list(iterate_folds(100, 5))
    assert all((a[1] == b[1]).all() for a, b in zip(first, again, strict=True))
    assert (sum(test.astype(int) for _, test in first) == 1).all()
    assert all((train != test).all() for train, test in first)
