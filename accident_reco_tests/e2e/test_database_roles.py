"""Roles on PostgreSQL: each has exactly its rights on the warehouse, and none on other databases."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError, ProgrammingError

from accident_reco.launch.home import RESTRICTED_ROLES
from accident_reco.registry import database_access
from accident_reco.settings import Settings
from accident_reco.storage.migrations.accident_views import VIEWS
from accident_reco.storage.roles import RoleError, ensure_databases, grant
from accident_reco.storage.tables import all_tables
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.e2e.conftest import Postgres

pytestmark = pytest.mark.e2e

KINDS = RESTRICTED_ROLES
OWNER_ONLY = {"rating_staging"}
"""Tables of imports alone, which run as the owner: nobody reads their rows before they are swapped in."""
RELATIONS = (
    "SELECT tablename FROM pg_tables WHERE schemaname = 'public' "
    "UNION SELECT viewname FROM pg_views WHERE schemaname = 'public'"
)


@pytest.fixture(scope="module")
def roles(postgres: Postgres) -> dict[str, Warehouse]:
    """A database as a stack prepares it: an owner and the restricted roles."""
    urls = {
        kind: postgres.url("least", f"least_{kind}", f"pass-{kind}%40").render_as_string(hide_password=False)
        for kind in ("owner", *KINDS)
    }
    admin = postgres.url().render_as_string(hide_password=False)
    for _ in range(2):  # idempotent
        ensure_databases(admin, [urls["owner"]], [urls[kind] for kind in KINDS])
    owner = Warehouse(urls["owner"])
    owner.upgrade()
    for _ in range(2):
        grant(owner, {kind: f"least_{kind}" for kind in KINDS}, database_access(Settings.load()))
    warehouses = {kind: Warehouse(url) for kind, url in urls.items()}
    yield warehouses
    for warehouse in [owner, *warehouses.values()]:
        warehouse.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_role_has_exactly_its_listed_rights(roles: dict[str, Warehouse], kind: str) -> None:
    """Every right on every table as PostgreSQL reports it; no role changes the schema."""
    with roles["owner"].connect() as connection:
        tables = connection.execute(text(RELATIONS)).scalars().all()
        found = {}
        for table in tables:
            rights = [
                right
                for right in ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
                if connection.execute(
                    text("SELECT has_table_privilege(:role, :table, :right)"),
                    {"role": f"least_{kind}", "table": table, "right": right},
                ).scalar()
            ]
            if rights:
                found[table] = ", ".join(rights)
    assert found == database_access(Settings.load())[kind]
    for sql in ("CREATE TABLE mine (x int)", "ALTER TABLE promotions ADD x int", "DELETE FROM alembic_version"):
        with (
            pytest.raises(ProgrammingError, match=r"permission denied|must be owner"),
            roles[kind].begin() as connection,
        ):
            connection.execute(text(sql))


def test_every_table_is_listed_for_a_role() -> None:
    """A new table is added to the rights of the roles that need it."""
    named = {table for rights in database_access(Settings.load()).values() for table in rights}
    assert named <= set(all_tables().tables) | set(VIEWS)
    assert set(all_tables().tables) - named == OWNER_ONLY, "add its rights to storage/roles.py"


def test_roles_of_other_databases_cannot_enter(roles: dict[str, Warehouse], postgres: Postgres) -> None:
    """The roles of Dagster and MLflow cannot connect to the warehouse."""
    other = postgres.url("other", "other_owner", "secret").render_as_string(hide_password=False)
    ensure_databases(postgres.url().render_as_string(hide_password=False), [other])
    intruder = Warehouse(postgres.url("least", "other_owner", "secret").render_as_string(hide_password=False))
    with pytest.raises(OperationalError, match="permission denied for database"), intruder.connect():
        pass
    with pytest.raises(RoleError, match="needs a password"):
        ensure_databases(postgres.url().render_as_string(hide_password=False), [], ["postgresql://x:o'o@h/least"])
