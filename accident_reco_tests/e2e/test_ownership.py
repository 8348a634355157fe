"""Two homes on one database or one store: recognised at the start, on real PostgreSQL and S3."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, make_url

from accident_reco.launch.home import prepare_home
from accident_reco.launch.locks import sole_platform
from accident_reco.launch.ownership import this_installation
from accident_reco.launch.postgres_server import postgres_answers
from accident_reco.launch.processes import LaunchError
from accident_reco.settings import Settings
from accident_reco.storage.objects import open_store
from accident_reco.storage.ownership import OWNER_KEY
from accident_reco_tests.conftest import ROOT
from accident_reco_tests.e2e.conftest import Postgres

pytestmark = pytest.mark.e2e

Make = Callable[..., Settings]


@pytest.fixture
def make(postgres: Postgres, store_url: str, tmp_path: Path) -> Make:
    """Settings of a home by name; by default all of them name the same databases and store."""
    shared = {
        "database_url": postgres.new_database(),
        "dagster_database_url": postgres.new_database(),
        "store_url": store_url,
    }
    return lambda home, **changed: Settings.load(home=tmp_path / home, **(shared | changed))


def tables(url: str) -> list[str]:
    engine = create_engine(url)
    try:
        return inspect(engine).get_table_names()
    finally:
        engine.dispose()


@pytest.mark.parametrize("shared", ["database_url", "dagster_database_url", "store_url"])
def test_a_second_home_is_rejected_in_one_line(make: Make, postgres: Postgres, store_url: str, shared: str) -> None:
    """One shared part is enough. The line names the owner, since when, and what to set; the owner starts as before."""
    first = make("first")
    prepare_home(first)
    fresh = {
        "database_url": postgres.new_database(),
        "dagster_database_url": postgres.new_database(),
        "store_url": f"{store_url}-second",
    }
    second = make("second", **{name: value for name, value in fresh.items() if name != shared})
    with pytest.raises(LaunchError) as refused:
        prepare_home(second)
    (line,) = str(refused.value).splitlines()
    owner = this_installation(first)
    for words in (
        f"ACCIDENT_RECO_{shared.upper()}: in use",
        owner.id,
        str(first.home),
        "since 20",
        f"ACCIDENT_RECO_INSTALLATION_ID={owner.id}",
        "ACCIDENT_RECO_ALLOW_SHARED=true",
    ):
        assert words in line
    assert ":***@" not in line
    prepare_home(first)


def test_the_database_of_another_installation_is_not_migrated(make: Make, postgres: Postgres) -> None:
    """The rejection comes before the schema is changed: the other installation may be of an older version."""
    first = make("first")
    prepare_home(first)
    empty = postgres.new_database()
    with pytest.raises(LaunchError, match="ACCIDENT_RECO_STORE_URL"):
        prepare_home(make("second", database_url=empty, dagster_database_url=""))
    assert tables(empty) == ["installation_owner"]


def test_other_homes_of_the_same_installation_start(make: Make) -> None:
    """Containers without a common home name the installation; sharing on purpose is allowed."""
    first = make("first")
    prepare_home(first)
    prepare_home(make("second", installation_id=this_installation(first).id))
    prepare_home(make("third", allow_shared=True))
    with pytest.raises(LaunchError, match="in use by installation"):
        prepare_home(make("fourth"))


def test_of_two_first_starts_at_once_one_wins(make: Make) -> None:
    """Both find nothing; the database's lock and the store's conditional write decide."""

    def start(name: str) -> str:
        try:
            prepare_home(make(name))
        except LaunchError:
            return "refused"
        return "started"

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(start, ["first", "second"])) == ["refused", "started"]


def test_the_owners_passwords_are_not_changed(make: Make, postgres: Postgres) -> None:
    """`accident-reco prepare` of another installation, with the superuser's login, leaves the roles of the first."""
    name = "owned_elsewhere"
    urls = [
        postgres.url(name, name, password).render_as_string(hide_password=False) for password in ("first", "second")
    ]
    admin = postgres.url().render_as_string(hide_password=False)
    own = {"database_admin_url": admin, "dagster_database_url": ""}
    prepare_home(make("first", database_url=urls[0], **own))
    with pytest.raises(LaunchError, match="ACCIDENT_RECO_DATABASE_URL: in use"):
        prepare_home(make("second", database_url=urls[1], **own))
    assert postgres_answers(make_url(urls[0]).set(drivername="postgresql").render_as_string(hide_password=False))


def test_the_command_prints_one_line_and_fails(make: Make) -> None:
    """No traceback: exit code 1 and one line on the error output."""
    first, second = make("first"), make("second")
    prepare_home(first)
    named = {
        "HOME": str(second.home),
        "DATABASE_URL": second.database_url,
        "STORE_URL": second.store_url,
        "DAGSTER_DATABASE_URL": second.dagster_database_url,
    }
    run = subprocess.run(
        [sys.executable, "-m", "accident_reco.cli", "prepare"],
        cwd=ROOT,
        text=True,
        capture_output=True,
        env=os.environ | {f"ACCIDENT_RECO_{name}": value for name, value in named.items()},
        check=False,
    )
    assert run.returncode == 1
    (line,) = run.stderr.splitlines()
    assert this_installation(first).id in line


def test_a_damaged_record_of_the_owner_is_named(make: Make) -> None:
    """The owner is not guessed from an unreadable record: the message names the object and the fix."""
    first = make("first")
    open_store(first.store).write(OWNER_KEY, b"{")
    with pytest.raises(LaunchError, match="installation\\.json is damaged"):
        prepare_home(first)


def test_one_home_runs_one_platform(tmp_path: Path) -> None:
    """Two daemons on one embedded Dagster storage would start every run twice."""
    with sole_platform(tmp_path), pytest.raises(LaunchError, match=r"runs in .* already"), sole_platform(tmp_path):
        pass
    with sole_platform(tmp_path):
        pass
