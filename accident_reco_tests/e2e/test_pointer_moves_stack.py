"""Moves of the pointer on S3 and PostgreSQL: trainings as the database owner, rollbacks as the role of the services."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from accident_reco.lifecycle.bundle import Bundle
from accident_reco.lifecycle.promotion import promote, sweep
from accident_reco.lifecycle.store import ModelStore
from accident_reco.registry import database_access
from accident_reco.settings import Settings
from accident_reco.storage.lifecycle import promotion_history, rolled_back_versions
from accident_reco.storage.objects import open_store
from accident_reco.storage.roles import ensure_databases, grant
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.e2e.conftest import Postgres
from accident_reco_tests.support.live import live, wait_for
from accident_reco_tests.support.pointer_machine import (
    BETTER,
    POLICY,
    Command,
    Model,
    World,
    kill_between_swap_and_audit,
    run_machine,
)
from accident_reco_tests.support.toy import LOADERS, toy_bundle
from serving.predict.app import create_app

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def warehouses(postgres: Postgres) -> Iterator[tuple[Warehouse, Warehouse]]:
    """One database as its owner and as the restricted role of the services."""
    owner_url, services_url = (
        postgres.url("moves", f"moves_{kind}", f"pass-{kind}").render_as_string(hide_password=False)
        for kind in ("owner", "services")
    )
    ensure_databases(postgres.url().render_as_string(hide_password=False), [owner_url], [services_url])
    owner, services = Warehouse(owner_url), Warehouse(services_url)
    owner.upgrade()
    grant(owner, {"services": "moves_services"}, database_access(Settings.load()))
    yield owner, services
    owner.close()
    services.close()


@pytest.fixture
def world(store_url: str, warehouses: tuple[Warehouse, Warehouse]) -> World:
    return World(store_url, *warehouses)


def test_every_move_is_audited(world: World) -> None:
    """The machine of the unit tests, with the store's own conditional writes and the database's own rights."""
    run_machine(world, examples=30, steps=12)


def test_a_rollback_killed_before_its_audit_is_completed_by_the_next(world: World) -> None:
    """SIGKILL in a process that has the services' rights only."""
    model = Model(world, "killed")
    for content in (b"one", b"two"):
        model.run(Command("promote", content))
    kill_between_swap_and_audit(model, "roll_back")
    outcome = model.run(Command("roll_back"))
    assert outcome is not None
    assert outcome.decision.promote
    assert rolled_back_versions(world.owner, model.name) == [model.candidate(b"two").version]
    model.check(settled=True)


@pytest.fixture
def champions(world: World) -> Iterator[list[str]]:
    """Two accident versions, promoted by the gate one after the other."""
    models = ModelStore(open_store(world.store_url))

    def train(weight: float) -> str:
        toy = toy_bundle(weight)
        bundle = Bundle(toy.model, toy.files, toy.signature, toy.metrics, toy.lineage)
        return promote(models, world.owner, bundle, lambda *_: BETTER, POLICY, f"run-{weight}").version

    yield [train(weight) for weight in (0.3, 0.9)]
    with world.owner.begin() as connection:
        for table in ("promotions", "promotion_intents", "work_requests", "model_metrics"):
            connection.execute(text(f"DELETE FROM {table}"))


def test_rollback_by_api_as_the_services_role(world: World, champions: list[str], tmp_path: Path) -> None:
    """200, audited as promoted, the version left behind blocked; a second request finds no other version."""
    old, bad = champions
    database = world.services.url.render_as_string(hide_password=False)
    settings = Settings.load(home=tmp_path, database_url=database, store_url=world.store_url, auth_required=False)
    with live(create_app(settings, LOADERS)) as client:
        answer = client.post("/models/accidents/rollback", json={"reason": "the new one is bad"})
        assert (answer.status_code, answer.json()["status"]) == (200, "done"), answer.text
        wait_for(lambda: client.get("/models/accidents").json()["champion"] == old)
        again = client.post("/models/accidents/rollback", json={"reason": "the new one is bad"})
        assert (again.status_code, again.json()["type"].split(":")[-1]) == (409, "nothing-to-roll-back-to")
        assert bad in again.json()["detail"]
    newest = promotion_history(world.owner, "accidents")[0]
    assert (newest["action"], newest["promoted"], newest["version"]) == ("rollback", True, old)
    assert newest["run_id"] == f"api:{answer.json()['id']}"
    assert rolled_back_versions(world.owner, "accidents") == [bad]


def test_a_rollback_that_could_not_be_audited_stays_queued_and_is_completed(
    world: World, champions: list[str], tmp_path: Path
) -> None:
    """The right to write the audit is missing for a while: 202, and the owner's sweep audits what moved."""
    old, bad = champions
    database = world.services.url.render_as_string(hide_password=False)
    settings = Settings.load(home=tmp_path, database_url=database, store_url=world.store_url, auth_required=False)
    with world.owner.begin() as connection:
        connection.execute(text("REVOKE INSERT ON promotions FROM moves_services"))
    try:
        with live(create_app(settings, LOADERS)) as client:
            answer = client.post("/models/accidents/rollback", json={"reason": "the new one is bad"})
            assert (answer.status_code, answer.json()["status"]) == (202, "queued"), answer.text
    finally:
        grant(world.owner, {"services": "moves_services"}, database_access(Settings.load()))
    models = ModelStore(open_store(world.store_url))
    (row,) = sweep(models, world.owner, "accidents")
    assert (row["run_id"], row["promoted"], row["version"]) == (f"api:{answer.json()['id']}", True, old)
    assert rolled_back_versions(world.owner, "accidents") == [bad]
