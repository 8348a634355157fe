"""Roles in PostgreSQL: databases with their owners, and the table rights of the roles that services log in with.

The rights are applied after each migration. Not used with SQLite, which has no roles.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from sqlalchemy import URL, Connection, create_engine, make_url, text

from accident_reco.storage.warehouse import Warehouse

READ = "SELECT"
APPEND = "SELECT, INSERT"
CHANGE = "SELECT, INSERT, UPDATE"
KEEP = "SELECT, INSERT, DELETE"  # append, and delete by retention
FORGET = "SELECT, DELETE"
ERASE = "SELECT, UPDATE, DELETE"  # delete rows, and take names off those that stay
OWN = "SELECT, INSERT, UPDATE, DELETE"

# Role kind → table → rights. Everything else is denied; a model adds its own tables (`contract.Model.access`).
ACCESS: Mapping[str, Mapping[str, str]] = {
    "auth": {
        "users": OWN,
        "api_keys": CHANGE,
        "refresh_tokens": OWN,
        "token_revocations": OWN,
        "login_failures": OWN,
        "audit_log": APPEND,
        "predictions": FORGET,
        "rollout_calls": FORGET,
        "feedback": ERASE,
    },
    "services": {
        "api_keys": READ,
        "token_revocations": READ,
        "predictions": KEEP,
        "feedback": KEEP,
        "promotions": APPEND,
        "rollout_calls": KEEP,
        "promotion_intents": CHANGE,
        "work_requests": CHANGE,
        "drift_reports": CHANGE,
        "retrain_decisions": READ,
        "alerts": CHANGE,
    },
    "console": {
        "console_sessions": OWN,
    },
    "reader": {
        "model_metrics": READ,
        "predictions": READ,
        "feedback": READ,
        "promotions": READ,
        "promotion_intents": READ,
        "rollout_calls": READ,
        "work_requests": READ,
        "drift_reports": READ,
        "retrain_decisions": READ,
        "alerts": READ,
        "notifications": READ,
    },
}

# Role kind → functions of the migrations that it may execute with the owner's rights.
EXECUTE: Mapping[str, Sequence[str]] = {
    "services": ("create_prediction_months(integer)", "drop_predictions_before(timestamptz)"),
}


class RoleError(ValueError):
    """The URL of a role is not usable; the message names the role and the rule."""


def ensure_databases(admin_url: str, owners: Iterable[str], others: Iterable[str] = ()) -> None:
    """Create missing roles and databases, and set the passwords of the URLs. Idempotent.

    Only its owner and the roles of `others` may connect to a database.

    Args:
        admin_url: a superuser's URL.
        owners: URLs whose role owns its database.
        others: URLs of restricted roles in an owner's database.
    """
    engine = create_engine(admin_url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            for url in map(make_url, owners):
                _ensure_role(connection, url)
                known = text("SELECT 1 FROM pg_database WHERE datname = :name")
                if not connection.execute(known, {"name": url.database}).first():
                    connection.execute(text(f"CREATE DATABASE {_name(url.database)} OWNER {_name(url.username)}"))
                connection.execute(text(f"REVOKE ALL ON DATABASE {_name(url.database)} FROM PUBLIC"))
            for url in map(make_url, others):
                _ensure_role(connection, url)
                connection.execute(text(f"GRANT CONNECT ON DATABASE {_name(url.database)} TO {_name(url.username)}"))
    finally:
        engine.dispose()


def grant(warehouse: Warehouse, roles: Mapping[str, str], access: Mapping[str, Mapping[str, str]]) -> None:
    """Grant each role exactly the rights of its kind; called by the owner, after a migration.

    Args:
        roles: kind (`auth`, `services`, `reader`) → role name.
        access: kind → table → rights, as `registry.database_access` returns them.
    """
    with warehouse.begin() as connection:
        # A restored dump has no rights: its functions are everybody's, as PostgreSQL makes them.
        for function in chain.from_iterable(EXECUTE.values()):
            connection.execute(text(f"REVOKE ALL ON FUNCTION public.{function} FROM PUBLIC"))
        for kind, role in roles.items():
            name = _name(role)
            connection.execute(text(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {name}"))
            connection.execute(text(f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM {name}"))
            connection.execute(text(f"REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM {name}"))
            connection.execute(text(f"GRANT USAGE ON SCHEMA public TO {name}"))
            for function in EXECUTE.get(kind, ()):
                connection.execute(text(f"GRANT EXECUTE ON FUNCTION public.{function} TO {name}"))
            for table, rights in access[kind].items():
                connection.execute(text(f"GRANT {rights} ON {_name(table)} TO {name}"))
            if any("INSERT" in rights for rights in access[kind].values()):
                connection.execute(text(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {name}"))


def _ensure_role(connection: Connection, url: URL) -> None:
    known = connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": url.username}).first()
    password = str(url.password or "")
    if not password or "'" in password or "\\" in password:
        raise RoleError(f"role {url.username}: its URL needs a password without quotes and backslashes")
    verb = "ALTER" if known else "CREATE"
    limits = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE"
    # A literal: utility statements take no parameters. Quotes and backslashes are rejected above.
    connection.exec_driver_sql(f"{verb} ROLE {_name(url.username)} {limits} PASSWORD '{password}'".replace("%", "%%"))


def _name(value: str | None) -> str:
    if not value or not value.replace("_", "").isalnum() or not value.isascii():
        raise RoleError(f"{value!r}: names of roles, databases and tables are ASCII letters, digits and underscores")
    return f'"{value}"'
