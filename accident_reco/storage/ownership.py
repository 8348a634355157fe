"""Ownership of databases and object stores by installations: recorded at the first start, compared at every other.

The table is not part of the warehouse's migrations: Dagster's own database has it too, and it is read before them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from sqlalchemy import Column, MetaData, String, Table, Text, func, insert, inspect, select
from sqlalchemy.exc import OperationalError

from accident_reco.storage.objects import ObjectExists, ObjectStore
from accident_reco.storage.warehouse import MIGRATION_LOCK, Warehouse

OWNER_KEY = "installation.json"
TABLE = "installation_owner"
_owner = Table(
    TABLE,
    MetaData(),
    Column("id", String(64), primary_key=True, comment="Id of the installation"),
    Column("home", Text, nullable=False, comment="Home directory that it was prepared from"),
    Column("host", Text, nullable=False, comment="Machine of that home"),
    Column("since", String(32), nullable=False, comment="UTC, ISO 8601"),
    comment="The installation that this database belongs to, one row",
)


@dataclass(frozen=True)
class Installation:
    """One platform with its daemon, on any number of processes and machines."""

    id: str
    home: str
    host: str
    since: str


def claim_database(url: str, mine: Installation) -> Installation:
    """Record `mine` as the owner of a database that has none. Returns the owner; of concurrent claims one succeeds."""
    warehouse = Warehouse(url)
    try:
        warehouse.create_file()
        with warehouse.begin() as connection:
            if not warehouse.is_sqlite:
                connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            _owner.create(connection, checkfirst=True)
            row = connection.execute(select(_owner)).mappings().first()
            if row is None:
                connection.execute(insert(_owner), asdict(mine))
            return Installation(**row) if row else mine
    finally:
        warehouse.close()


def owner_of_database(url: str) -> Installation | None:
    """The owner of a database; None where it has none, or does not exist yet."""
    warehouse = Warehouse(url)
    try:
        with warehouse.connect() as connection:
            if not inspect(connection).has_table(TABLE):
                return None
            row = connection.execute(select(_owner)).mappings().first()
            return Installation(**row) if row else None
    except OperationalError:
        return None
    finally:
        warehouse.close()


def claim_store(store: ObjectStore, mine: Installation) -> Installation:
    """Record `mine` as the owner of an object store that has none. Returns the owner.

    Raises:
        StoreError: the store cannot be reached.
        ValueError: the record of the owner is damaged.
    """
    try:
        store.create(OWNER_KEY, json.dumps(asdict(mine), indent=1).encode())
        return mine
    except ObjectExists:
        try:
            return Installation(**json.loads(store.read(OWNER_KEY)))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{store.url}/{OWNER_KEY} is damaged ({error}); delete it, and the next start claims the store"
            ) from None
