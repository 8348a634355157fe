"""The prediction log on PostgreSQL by month: the exchange of a table in use, windows, retention, missing months."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from alembic import command
from sqlalchemy import text

from accident_reco.drift.log_window import labelled_predictions, prediction_window
from accident_reco.launch.database_dumps import count_postgres, dump_postgres, load_postgres
from accident_reco.registry import database_access
from accident_reco.settings import Settings
from accident_reco.storage import prediction_log
from accident_reco.storage.migrations import alembic_config
from accident_reco.storage.roles import grant
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.e2e.conftest import Postgres
from accident_reco_tests.support.live import wait_for
from accident_reco_tests.support.logged_months import create_past_months, explain, log_rows
from accident_reco_tests.support.production import log_row

pytestmark = pytest.mark.e2e

PARTITIONS = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'predictions'::regclass ORDER BY 1"
WHERE = "SELECT tableoid::regclass::text FROM predictions WHERE id = :id"


def partition_of(warehouse: Warehouse, prediction_id: str) -> str:
    with warehouse.connect() as connection:
        return connection.execute(text(WHERE), {"id": prediction_id}).scalar_one().removeprefix("prediction_log.")


def partitions(warehouse: Warehouse) -> list[str]:
    with warehouse.connect() as connection:
        return [name.removeprefix("prediction_log.") for name in connection.scalars(text(PARTITIONS))]


@pytest.fixture
def earlier(database: str) -> Iterator[Warehouse]:
    """A warehouse of the previous release, with a role's rights, and rows of a year."""
    warehouse = Warehouse(database)
    with warehouse.engine.connect() as connection:
        command.upgrade(alembic_config(connection), "0014_token_revocations")
    log_rows(warehouse, 2_000, datetime.now(UTC), days=365)
    with warehouse.begin() as connection:
        connection.execute(text("CREATE ROLE months_writer LOGIN"))
        connection.execute(text("GRANT SELECT, INSERT ON predictions TO months_writer"))
    yield warehouse
    with warehouse.begin() as connection:
        connection.execute(text("DROP OWNED BY months_writer"))
        connection.execute(text("DROP ROLE months_writer"))
    warehouse.close()


def test_a_table_in_use_becomes_a_partition(earlier: Warehouse) -> None:
    """A long reader holds the exchange up; writes get through meanwhile, and nothing is copied or lost.

    An attempt that was killed after its check left a constraint, of a month that has passed by now.
    """
    now = datetime.now(UTC)
    with earlier.begin() as connection:
        late = "ALTER TABLE predictions ADD CONSTRAINT predictions_before_months CHECK (at < '2020-01-01') NOT VALID"
        connection.execute(text(late))
        table = connection.execute(text("SELECT 'predictions'::regclass::oid")).scalar_one()
    failures: list[BaseException] = []

    def upgrade() -> None:
        warehouse = Warehouse(earlier.url.render_as_string(hide_password=False))
        try:
            warehouse.upgrade()
        except BaseException as error:
            failures.append(error)
        finally:
            warehouse.close()

    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database() "
        "AND query LIKE '%predictions%' AND state = 'active'"
    )
    thread = threading.Thread(target=upgrade)
    observer = Warehouse(earlier.url.render_as_string(hide_password=False))
    with earlier.connect() as reader:
        assert reader.execute(text("SELECT count(*) FROM predictions")).scalar_one() == 2_000
        thread.start()
        with observer.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as watch:
            wait_for(lambda: watch.execute(waiting).scalar_one() > 0)
        with observer.begin() as connection:  # the old constraint is gone only later
            connection.execute(text("SET LOCAL ROLE months_writer"))
            row = text(
                "INSERT INTO predictions (id, request_id, at, model, source, status, latency_ms, inputs) "
                "VALUES ('meanwhile', 'r', :at, 'accidents', 'json', 200, 1, '{}')"
            )
            connection.execute(row, {"at": datetime(2019, 6, 1, tzinfo=UTC)})
        assert thread.is_alive()
    thread.join(60)
    assert failures == []
    with earlier.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM predictions")).scalar_one() == 2_001
        assert (
            connection.execute(text("SELECT 'prediction_log.predictions_history'::regclass::oid")).scalar_one() == table
        )
    prediction_log.insert_predictions(observer, [log_row("now", now), log_row("later", now + timedelta(days=45))])
    assert partition_of(observer, "now") == "predictions_history"
    assert partition_of(observer, "later") == f"predictions_{now + timedelta(days=45):%Y_%m}"
    with observer.begin() as connection:
        connection.execute(text("SET LOCAL ROLE months_writer"))
        connection.execute(text("INSERT INTO predictions SELECT * FROM predictions LIMIT 0"))
    observer.upgrade()  # nothing left to do
    assert prediction_log.delete_older_than(observer, timedelta(days=0)) > 1_000
    assert partition_of(observer, "now") == "predictions_history"
    observer.close()


def test_windows_and_labels_cost_the_same_over_more_rows(warehouse: Warehouse) -> None:
    """A drift check touches the same number of pages when ten times as many rows are logged, all by indexes."""
    now = datetime.now(UTC)
    since = now - timedelta(hours=24)

    def read(opened: Warehouse) -> object:
        window = prediction_window(opened, "accidents", since=since, limit=500)
        assert len(window) == 500
        return labelled_predictions(opened, "accidents", since=since, limit=200)

    create_past_months(warehouse, now, 11)
    log_rows(warehouse, 20_000, now, days=1.5, name="a")
    few, _ = explain(warehouse, read)
    log_rows(warehouse, 180_000, now - timedelta(days=1.5), days=300, name="b")
    many, kinds = explain(warehouse, read)
    assert many <= 1.1 * few, (few, many)
    assert "Seq Scan" not in kinds
    assert "Sort" not in kinds


def test_no_write_needs_its_month(warehouses: dict[str, Warehouse]) -> None:
    """The default partition takes what has no month; the service, not the owner, creates it and moves those rows."""
    owner, services = warehouses["owner"], warehouses["services"]
    now = datetime.now(UTC)
    month = f"predictions_{now:%Y_%m}"
    assert month in partitions(owner)
    assert prediction_log.create_months(services) == 0
    with owner.begin() as connection:
        connection.execute(text(f"DROP TABLE prediction_log.{month}"))
    prediction_log.insert_predictions(services, [log_row("homeless", now), log_row("old", now - timedelta(days=800))])
    assert partition_of(owner, "homeless") == "predictions_default"
    assert prediction_log.create_months(services) == 1
    assert [partition_of(owner, name) for name in ("homeless", "old")] == [month, "predictions_default"]
    # Rows that a process sends again because it does not know that they arrived.
    prediction_log.insert_predictions(services, [log_row("homeless", now), log_row("new", now)], skip_known=True)
    assert len(prediction_log.prediction_window(services, "accidents")) == 3
    assert prediction_log.delete_older_than(services, timedelta(days=400)) == 1


def test_retention_drops_whole_months(warehouses: dict[str, Warehouse]) -> None:
    """A month past the age goes with its partition, by the service's role; one that is partly past it stays."""
    owner, services = warehouses["owner"], warehouses["services"]
    now = datetime.now(UTC)
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    before = (first - timedelta(days=1)).replace(day=1)
    create_past_months(owner, now, 1)
    prediction_log.insert_predictions(services, [log_row("a", before), log_row("b", first - timedelta(seconds=1))])
    prediction_log.insert_predictions(services, [log_row("c", first)])
    age = now - first
    assert prediction_log.delete_older_than(services, age + timedelta(hours=1)) == 0
    assert prediction_log.delete_older_than(services, age) == 2
    assert f"predictions_{before:%Y_%m}" not in partitions(owner)
    assert [row["id"] for row in prediction_log.prediction_window(services, "accidents")] == ["c"]


def test_a_backup_keeps_the_months(postgres: Postgres, warehouses: dict[str, Warehouse], tmp_path_factory) -> None:
    """Rows by partition, and functions that only the roles of the list may execute, although a dump has no rights."""
    owner, services = warehouses["owner"], warehouses["services"]
    log_rows(owner, 300, datetime.now(UTC), days=40)
    dump = tmp_path_factory.mktemp("dump") / "warehouse.dump"
    rows = dump_postgres(owner.url.render_as_string(hide_password=False), dump)
    assert rows["predictions"] == 300
    target = postgres.new_database()
    load_postgres(target, dump)
    assert count_postgres(target) == rows
    restored = Warehouse(target)
    restored.upgrade()
    role = str(services.url.username)
    grant(restored, {"services": role}, database_access(Settings.load()))
    assert partitions(restored) == partitions(owner)
    with restored.connect() as connection:
        may = "SELECT has_function_privilege(:role, 'drop_predictions_before(timestamptz)', 'EXECUTE')"
        found = [connection.scalar(text(may), {"role": name}) for name in (role, str(warehouses["auth"].url.username))]
    assert found == [True, False]
    restored.close()
