"""The warehouse on PostgreSQL: migrations, bulk load by COPY, every area's queries, outages."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, Column, DateTime, Float, Integer, MetaData, String, Table, Text, select, text
from sqlalchemy.exc import DBAPIError, InternalError

from accident_reco.models.movies.data import imports, queries, rating_table
from accident_reco.models.movies.data.rating_columns import read_ratings, read_ratings_until
from accident_reco.models.movies.data.ratings import Ratings
from accident_reco.storage import accounts, prediction_log
from accident_reco.storage.lifecycle import promotion_history, record_promotion
from accident_reco.storage.migrations import alembic_config
from accident_reco.storage.objects import LocalStore
from accident_reco.storage.tables import all_tables
from accident_reco.storage.tables.accounts import refresh_tokens
from accident_reco.storage.warehouse import Warehouse
from accident_reco.storage.work_requests import advance_request, request_work

pytestmark = pytest.mark.e2e


def test_migrations_of_an_empty_database_create_the_schema_of_the_code(warehouse: Warehouse) -> None:
    """The catalogue of PostgreSQL equals the tables in code, comments and types included."""
    with warehouse.begin() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, all_tables()) == []
        comments = connection.execute(
            text(
                "SELECT count(*) FROM pg_description WHERE objsubid > 0 AND classoid = "
                "'pg_class'::regclass AND objoid >= 16384"
            )
        ).scalar_one()
    assert comments == sum(len(table.columns) for table in all_tables().tables.values())


def test_the_newest_migration_keeps_rows(database: str) -> None:
    """The newest revision, applied to a filled database, keeps its rows and ends with the schema of the code."""
    warehouse = Warehouse(database)
    warehouse.upgrade()
    row, _ = request_work(
        warehouse, kind="training", model="movies", source="api", requested_by="ada", reason="kept", dedupe_key="k"
    )
    with warehouse.begin() as connection:
        config = alembic_config(connection)
        newest = ScriptDirectory.from_config(config).get_current_head()
        revision = ScriptDirectory.from_config(config).get_revision(newest)
        command.downgrade(config, revision.down_revision)
    warehouse.upgrade()
    with warehouse.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), all_tables()) == []
        kept = connection.execute(text("SELECT reason FROM work_requests WHERE id = :id"), {"id": row["id"]}).scalar()
    assert kept == "kept"
    warehouse.close()


def test_concurrent_upgrades_wait_for_each_other(database: str) -> None:
    """Three containers start together: one migrates, the others wait and find nothing to do."""
    failures: list[Exception] = []

    def upgrade() -> None:
        warehouse = Warehouse(database)
        try:
            warehouse.upgrade()
        except Exception as error:
            failures.append(error)
        finally:
            warehouse.close()

    threads = [threading.Thread(target=upgrade) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


_metadata = MetaData()
odd = Table(
    "odd",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("words", Text),
    Column("figure", Float),
    Column("code", Integer),
    Column("at", DateTime(timezone=True)),
    Column("detail", JSON),
    Column("Mixed Case", String),
)
WORDS = ["plain", "", None, 'quo"te', "semi;colon, comma", "line\nbreak", "\\N", "\\.", "NULL", "é€🚗", " -1", "\t"]


def test_copy_keeps_every_value(warehouse: Warehouse) -> None:
    """Quotes, line breaks, backslashes, the words NULL and \\N, empty and missing values pass COPY unchanged."""
    n = len(WORDS)
    at = pd.to_datetime(["2024-01-01 12:30:00.123456"] * (n - 1) + [None]).tz_localize("Europe/Paris")
    frame = pd.DataFrame(
        {
            "id": np.arange(n),
            "words": WORDS,
            "figure": [0.1 + 0.2, np.nan, 1e-300, -0.0] + [1.5] * (n - 4),
            "code": [3.0, np.nan] + [7.0] * (n - 2),
            "at": at,
            "detail": [{"a": 'b"c', "n": None}, [], None] + [1] * (n - 3),
            "Mixed Case": "x",
        }
    )
    with warehouse.begin() as connection:
        _metadata.create_all(connection)
        assert warehouse.append(connection, odd, frame) == n
    with warehouse.connect() as connection:
        rows = connection.execute(select(odd).order_by(odd.c.id)).mappings().all()
    assert [row["words"] for row in rows] == WORDS
    assert [row["figure"] for row in rows][:4] == [0.1 + 0.2, None, 1e-300, 0.0]
    assert [row["code"] for row in rows][:3] == [3, None, 7]
    assert rows[0]["at"] == datetime(2024, 1, 1, 11, 30, 0, 123456, UTC)
    assert rows[-1]["at"] is None
    assert rows[0]["detail"] == {"a": 'b"c', "n": None}
    assert rows[1]["detail"] == []


def test_copy_of_plain_arrays_is_chunked_and_counted(warehouse: Warehouse) -> None:
    """Columns without pandas, more than two chunks of them; the order of columns is the caller's."""
    n = 45_001
    with warehouse.begin() as connection:
        _metadata.create_all(connection)
        assert warehouse.append(connection, odd, {"figure": np.arange(n) / 7, "id": np.arange(n)}) == n
        assert warehouse.append(connection, odd, {}) == 0
        total = connection.execute(text("SELECT count(*), sum(figure) FROM odd")).one()
    assert total == (n, pytest.approx((np.arange(n) / 7).sum()))


def test_an_invalid_row_leaves_the_table_unchanged(warehouse: Warehouse) -> None:
    """A replace whose last row violates a constraint changes nothing."""
    with warehouse.begin() as connection:
        _metadata.create_all(connection)
    assert warehouse.replace(odd, {"id": np.arange(3)}, odd.c.id >= 0) == 3
    with pytest.raises(Exception, match="duplicate key"):
        warehouse.replace(odd, {"id": np.array([10, 11, 11])}, odd.c.id >= 0)
    with pytest.raises(Exception, match="Unconsumed column names: idd"):
        warehouse.replace(odd, {"idd": np.arange(3)}, odd.c.id >= 0)
    with warehouse.connect() as connection:
        assert connection.execute(select(odd.c.id)).scalars().all() == [0, 1, 2]


def test_reading_connections_reject_writes(warehouse: Warehouse) -> None:
    """A write on a connection for reading is an error on PostgreSQL."""
    with warehouse.connect() as connection, pytest.raises(InternalError, match="read-only transaction"):
        connection.execute(all_tables().tables["promotions"].delete())


def test_promotions_and_work_requests(warehouses: dict[str, Warehouse]) -> None:
    """Requests and audit behave as on SQLite: one row per key, closed once, times in UTC.

    The services request, the owner carries out.
    """
    owner, services = warehouses["owner"], warehouses["services"]
    request = {"kind": "training", "model": "movies", "source": "alert", "requested_by": "ops", "reason": "drift"}
    first, new = request_work(services, **request, dedupe_key="k")
    again, repeated = request_work(services, **request, dedupe_key="k")
    assert (new, repeated, first["id"]) == (True, False, again["id"])
    assert advance_request(owner, first["id"], "promoted", outcome="gain")
    assert not advance_request(owner, first["id"], "running")
    record_promotion(
        owner,
        model="movies",
        version="a",
        previous=None,
        action="promote",
        promoted=True,
        reason="r",
        detail={"gain": 0.1},
        run_id="r",
    )
    row = promotion_history(services, "movies")[0]
    assert (row["detail"], row["decided_at"].tzinfo is not None) == ({"gain": 0.1}, True)


def test_a_lost_connection_is_replaced(warehouse: Warehouse) -> None:
    """After a restart of PostgreSQL the next call works, without a restart of the process."""
    with warehouse.connect() as connection:
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    killer = Warehouse(warehouse.url.render_as_string(hide_password=False))
    with killer.begin() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    killer.close()
    with warehouse.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1


def test_an_unreachable_database_is_reported_without_the_password() -> None:
    """The error has the address and not the secret."""
    warehouse = Warehouse("postgresql+psycopg2://u:hunter2@127.0.0.1:9/w")
    with pytest.raises(DBAPIError) as error, warehouse.connect():
        pass
    assert "127.0.0.1" in str(error.value)
    assert "hunter2" not in str(error.value) + repr(warehouse) + json.dumps(str(warehouse.url))


def test_every_area_works_on_postgresql(warehouses: dict[str, Warehouse], tmp_path: Path) -> None:
    """Ratings by COPY and upsert, accounts with their races, the prediction log, its labels, erasure and retention.

    Each as the role that does it in production.
    """
    owner, auth, services = (warehouses[role] for role in ("owner", "auth", "services"))
    titles = ["Toy Story (1995)", 'O\'Brien; "x"']
    catalogue = pd.DataFrame({"movie_id": [1, 2], "title": titles, "genres": ["A|B", ""], "year": [1995, -1]})
    columns = {
        "user_id": np.array([1, 1, 2]),
        "movie_id": np.array([1, 2, 1]),
        "rating": np.array([4.5, 3.0, 0.5], np.float32),
        "rated_at": np.array([1, 2, 2**33]),
    }
    parts = [Ratings.from_columns(*columns.values())]
    for _ in range(2):  # an interrupted import is repeated
        load = imports.start_load(owner, "a" * 64, "b" * 64, "sample")
        rating_table.prepare(owner, load, parts)
    imports.finish_load(owner, load, catalogue, parts, rows=3, quarantined=0)
    assert len(queries.read_movies(owner)) == 2
    assert imports.find_finished_load(owner, "a" * 64, "b" * 64, "sample").rows == 3
    store = LocalStore(str(tmp_path))
    stored = read_ratings(store, owner)
    assert stored.ratings.rated_at.max() == 2**33
    assert (
        queries.add_ratings(
            services,
            {name: values[:1] for name, values in columns.items()} | {"rating": np.array([1.0], np.float32)},
            simulated=False,
            received_at=10,
        )["updated"]
        == 1
    )
    known = read_ratings_until(store, owner, np.array([2, 1, 1]), 9)
    assert list(zip(known.user_id, known.movie_id, strict=True)) == [(1, 2), (2, 1)]
    assert len(read_ratings_until(store, owner, np.array([1]), 10)) == 2
    assert len(read_ratings(store, owner).ratings) == 3
    assert queries.read_received_ratings(services, 10, 11, limit=5)["rating"].tolist() == [1.0]
    histories = queries.read_user_histories(services, [1, 2, 3], newer_than=9)
    assert sorted(histories) == [1, 2]
    stars = [dict(zip(h["movie_id"].tolist(), h["rating"].tolist(), strict=True)) for h in histories.values()]
    assert stars == [{1: 1.0, 2: 3.0}, {1: 0.5}]
    assert (histories[2]["rated_at"].tolist(), histories[1]["newer"], histories[2]["newer"]) == ([2**33], True, False)
    assert (queries.count_received(owner, 9), queries.count_received(owner, 10)) == (1, 0)
    # Another file is merged: one changed, one removed, one new; what the API received stays.
    later = [Ratings.from_columns([1, 1, 3], [1, 2, 2], [5.0, 2.5, 4.0], [7, 8, 9])]
    load = imports.start_load(owner, "c" * 64, "b" * 64, "sample")
    rating_table.prepare(owner, load, later)
    imports.finish_load(owner, load, catalogue, later, rows=3, quarantined=0)
    merged = read_ratings(store, owner).ratings.sort_by_user()
    rows = zip(merged.user_id.tolist(), merged.movie_id.tolist(), merged.rating.tolist(), strict=True)
    assert list(rows) == [(1, 1, 1.0), (1, 2, 2.5), (3, 2, 4.0)]

    accounts.add_user(auth, "ada", "hash", "user")
    with pytest.raises(accounts.AccountExists):
        accounts.add_user(auth, "ada", "hash", "user")
    accounts.add_refresh_token(auth, "h", "f", "ada", "predict", timedelta(days=1))
    day = timedelta(days=1)
    used = [accounts.use_refresh_token(auth, "h", f"h{n}", day)[0] for n in range(3)]
    assert used == ["ok", "reused", "revoked"]

    at = datetime.now(UTC)
    row = {
        "request_id": "r",
        "at": at,
        "model": "accidents",
        "version": "v",
        "user_name": "ada",
        "source": "json",
        "status": 200,
        "score": 0.5,
        "answer": {"grave": True},
        "latency_ms": 1.0,
        "inputs": {"catu": 1},
    }
    odd = row | {"inputs": {"com": "O'Brien \\ %s"}, "answer": None, "score": None, "model": "movies"}
    many = [odd | {"id": f"q{n}"} for n in range(250)]
    prediction_log.insert_predictions(services, [*[row | {"id": f"p{n}"} for n in range(3)], *many])
    assert prediction_log.prediction(services, "q249") == odd | {"id": "q249"}
    label = {
        "prediction_id": "p1",
        "model": "accidents",
        "label": {"severity": 2},
        "outcome": 1.0,
        "user_name": "eve",
        "predicted_at": at,
        "at": at,
    }
    assert [prediction_log.add_feedback(services, label)[1] for _ in range(2)] == ["new", "same"]
    found = prediction_log.labelled_predictions(services, "accidents")
    assert (len(found), found[0]["inputs"], found[0]["at"]) == (1, {"catu": 1}, at)
    assert (found[0]["label"], found[0]["outcome"]) == ({"severity": 2}, 1.0)
    assert prediction_log.erase_user(auth, "ada") == {"predictions": 253, "feedback": 1}
    assert prediction_log.delete_older_than(services, timedelta(0)) == 0


def test_concurrent_reuse_and_refresh_leave_no_active_token(warehouses: dict[str, Warehouse]) -> None:
    """Two uses of one token and one of its predecessor, at the same time: every order revokes the family."""
    warehouse = warehouses["auth"]
    accounts.add_user(warehouse, "ada", "hash", "user")
    day = timedelta(days=1)
    with ThreadPoolExecutor(3) as pool:
        for n in range(30):
            accounts.add_refresh_token(warehouse, f"first{n}", f"family{n}", "ada", "predict", day)
            assert accounts.use_refresh_token(warehouse, f"first{n}", f"second{n}", day)[0] == "ok"
            tokens = ((f"second{n}", f"a{n}"), (f"second{n}", f"b{n}"), (f"first{n}", f"c{n}"))
            outcomes = list(pool.map(lambda pair: accounts.use_refresh_token(warehouse, *pair, day)[0], tokens))
            assert outcomes.count("ok") <= 1
            assert "reused" in outcomes
    with warehouse.connect() as connection:
        active = select(refresh_tokens.c.hash).where(refresh_tokens.c.revoked_at.is_(None))
        assert connection.execute(active).all() == []
