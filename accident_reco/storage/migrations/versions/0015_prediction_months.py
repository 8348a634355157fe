"""The prediction log on PostgreSQL is partitioned by month; SQLite keeps its table.

Safe on a database in use. Rows are not copied: the table becomes the partition of everything before a month that begins
at least a week later. That its rows are that old is checked first, without blocking writes; the exchange after it
changes the catalogue alone, and waits for its lock for seconds at a time, so that writes get through in between. A
migration that was killed begins again; what the check left is replaced. No write fails for a missing month: the default
partition takes it, and the month takes those rows over when it is created.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.exc import OperationalError

revision = "0015_prediction_months"
down_revision = "0014_token_revocations"
branch_labels = None
depends_on = None

LOCK_SECONDS, LOCK_ATTEMPTS = 2, 30
MONTHS_AHEAD = 2
_PLAIN = "prediction_log.predictions_history"
_BOUND = "predictions_before_months"
_INDEXES = (
    "ix_predictions_model_at ON public.predictions (model, at)",
    "ix_predictions_user_name ON public.predictions (user_name)",
)

# Executed as the owner, by services that cannot change the schema. Months are those of UTC. The lock timeouts keep a
# long reader from blocking writes behind the function; its caller repeats it within the hour.
_AS_OWNER = """LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET lock_timeout = '2s'"""
_PARTITIONS = """
    SELECT c.oid::regclass::text AS name,
           substring(pg_get_expr(c.relpartbound, c.oid) FROM 'TO \\(''([^'']+)''\\)')::timestamptz AS ends
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'public.predictions'::regclass"""
_CREATE = f"""
CREATE FUNCTION public.create_prediction_months(ahead integer) RETURNS integer {_AS_OWNER} AS $$
DECLARE
    first timestamptz := date_trunc('month', now());
    next timestamptz;
    part text;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock({0x6163_7266});
    FOR n IN 0..ahead LOOP
        next := first + interval '1 month';
        part := 'predictions_' || to_char(first, 'YYYY_MM');
        IF to_regclass('prediction_log.' || part) IS NULL
            AND NOT EXISTS (SELECT FROM ({_PARTITIONS}) p WHERE p.name LIKE '%predictions_history' AND p.ends >= next)
        THEN
            EXECUTE format('CREATE TABLE prediction_log.%I (LIKE public.predictions, PRIMARY KEY (id))', part);
            LOCK TABLE prediction_log.predictions_default IN ACCESS EXCLUSIVE MODE;
            EXECUTE format(
                'WITH moved AS (DELETE FROM prediction_log.predictions_default WHERE at >= $1 AND at < $2 RETURNING *)'
                ' INSERT INTO prediction_log.%I SELECT * FROM moved', part) USING first, next;
            EXECUTE format(
                'ALTER TABLE public.predictions ATTACH PARTITION prediction_log.%I FOR VALUES FROM (%L) TO (%L)',
                part, first, next);
            made := made + 1;
        END IF;
        first := next;
    END LOOP;
    RETURN made;
END $$
"""  # noqa: S608 - no value from outside enters this text
_DROP = f"""
CREATE FUNCTION public.drop_predictions_before(before timestamptz) RETURNS bigint {_AS_OWNER} AS $$
DECLARE
    part record;
    found bigint;
    dropped bigint := 0;
BEGIN
    PERFORM pg_advisory_xact_lock({0x6163_7266});
    FOR part IN SELECT p.name FROM ({_PARTITIONS}) p WHERE p.ends <= before LOOP
        EXECUTE format('SELECT count(*) FROM %s', part.name) INTO found;
        EXECUTE format('DROP TABLE %s', part.name);
        dropped := dropped + found;
    END LOOP;
    RETURN dropped;
END $$
"""  # noqa: S608 - as above


def upgrade() -> None:
    """Exchange the table for a partitioned one, of which it becomes a part."""
    if op.get_bind().dialect.name != "postgresql":
        return
    with op.get_context().autocommit_block():
        bound = _check_age(op.get_bind())
    connection = op.get_bind()
    _retry(connection, lambda: connection.exec_driver_sql("LOCK TABLE public.predictions IN ACCESS EXCLUSIVE MODE"))
    _exchange(connection, bound)


def downgrade() -> None:
    """Copy all rows into one table again."""
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    connection.exec_driver_sql("CREATE TABLE prediction_log.plain (LIKE public.predictions INCLUDING COMMENTS)")
    connection.exec_driver_sql("INSERT INTO prediction_log.plain SELECT * FROM public.predictions")
    connection.exec_driver_sql("DROP FUNCTION public.create_prediction_months, public.drop_predictions_before")
    _copy_around(connection, "public.predictions", "prediction_log.plain")
    connection.exec_driver_sql("DROP TABLE public.predictions")
    connection.exec_driver_sql("ALTER TABLE prediction_log.plain SET SCHEMA public")
    connection.exec_driver_sql("ALTER TABLE public.plain RENAME TO predictions")
    connection.exec_driver_sql("ALTER TABLE public.predictions ADD CONSTRAINT pk_predictions PRIMARY KEY (id)")
    for index in _INDEXES:
        connection.exec_driver_sql(f"CREATE INDEX {index}")
    connection.exec_driver_sql("DROP SCHEMA prediction_log")


def _check_age(connection: sa.Connection) -> str:
    """Let PostgreSQL check that all rows are before a month, and that new ones will be. Returns its begin."""
    newest = connection.scalar(sa.text("SELECT max(at) FROM public.predictions"))
    after = max(newest or datetime.now(UTC), datetime.now(UTC)).astimezone(UTC) + timedelta(days=7)
    month = f"{after.year + after.month // 12}-{after.month % 12 + 1:02}-01 00:00:00+00"
    check = f"ADD CONSTRAINT {_BOUND} CHECK (at < '{month}') NOT VALID"
    change = f"ALTER TABLE public.predictions DROP CONSTRAINT IF EXISTS {_BOUND}, {check}"
    connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_SECONDS}s'")
    try:
        _retry(None, lambda: connection.exec_driver_sql(change))
    finally:
        connection.exec_driver_sql("RESET lock_timeout")
    try:
        connection.exec_driver_sql(f"ALTER TABLE public.predictions VALIDATE CONSTRAINT {_BOUND}")
    except BaseException:
        connection.exec_driver_sql(f"ALTER TABLE public.predictions DROP CONSTRAINT {_BOUND}")
        raise
    return month


def _exchange(connection: sa.Connection, bound: str) -> None:
    run = connection.exec_driver_sql
    run("CREATE SCHEMA prediction_log")
    run("ALTER TABLE public.predictions SET SCHEMA prediction_log")
    run("ALTER TABLE prediction_log.predictions RENAME TO predictions_history")
    run(f"CREATE TABLE public.predictions (LIKE {_PLAIN} INCLUDING COMMENTS) PARTITION BY RANGE (at)")
    _copy_around(connection, _PLAIN, "public.predictions")
    for index in _INDEXES:
        run(f"CREATE INDEX {index}")
    if connection.scalar(sa.text(f"SELECT EXISTS (SELECT FROM {_PLAIN})")):  # noqa: S608
        run(f"ALTER TABLE public.predictions ATTACH PARTITION {_PLAIN} FOR VALUES FROM (MINVALUE) TO ('{bound}')")
        run(f"ALTER TABLE {_PLAIN} DROP CONSTRAINT {_BOUND}")
    else:
        run(f"DROP TABLE {_PLAIN}")
    run("CREATE TABLE prediction_log.predictions_default PARTITION OF public.predictions (PRIMARY KEY (id)) DEFAULT")
    run(_CREATE.replace("%", "%%"))
    run(_DROP.replace("%", "%%"))
    run("REVOKE ALL ON FUNCTION public.create_prediction_months, public.drop_predictions_before FROM PUBLIC")
    connection.execute(sa.text("SELECT public.create_prediction_months(:ahead)"), {"ahead": MONTHS_AHEAD})


def _copy_around(connection: sa.Connection, source: str, target: str) -> None:
    """Give a table another's comment and rights."""
    comment = connection.scalar(sa.text("SELECT obj_description(CAST(:name AS regclass))"), {"name": source})
    quoted = str(comment or "").replace("'", "''")
    connection.execute(sa.text(f"COMMENT ON TABLE {target} IS '{quoted}'".replace(":", "\\:")))
    rights = sa.text("""
        SELECT quote_ident(r.rolname), a.privilege_type
        FROM pg_class c, aclexplode(c.relacl) a JOIN pg_roles r ON r.oid = a.grantee
        WHERE c.oid = CAST(:name AS regclass) AND a.grantee <> c.relowner""")
    for role, right in connection.execute(rights, {"name": source}).tuples().all():
        connection.exec_driver_sql(f"GRANT {right} ON {target} TO {role}")


def _retry(connection: sa.Connection | None, lock: Callable[[], Any]) -> None:
    """Wait for a lock for seconds at a time, since writes queue behind the wait; in a savepoint of a connection."""
    for attempt in range(LOCK_ATTEMPTS):
        try:
            if connection is None:
                lock()
            else:
                with connection.begin_nested():
                    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
                    lock()
            return
        except OperationalError as error:
            if getattr(error.orig, "pgcode", None) != "55P03" or attempt + 1 == LOCK_ATTEMPTS:
                raise
            time.sleep(1)
