"""Every interleaving of promotions, rollbacks and sweeps leaves one audit row a move, on a directory and SQLite."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError

from accident_reco.lifecycle.gate import Comparison
from accident_reco.lifecycle.promotion import MAX_ROUNDS, promote
from accident_reco.lifecycle.rollback import roll_back
from accident_reco.lifecycle.store import NoEarlierVersion
from accident_reco.storage.lifecycle import decision_of_run, open_intents, rolled_back_versions
from accident_reco.storage.model_metrics import has_metrics
from accident_reco.storage.tables.lifecycle import promotions
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.fault_points import Fault, Killed, kill
from accident_reco_tests.support.pointer_machine import (
    BETTER,
    POLICY,
    WORSE,
    Command,
    Model,
    World,
    kill_between_swap_and_audit,
    run_machine,
)


@pytest.fixture
def world(tmp_path: Path, warehouse: Warehouse) -> World:
    return World((tmp_path / "store").as_uri(), warehouse, warehouse)


@pytest.mark.slow
def test_every_move_is_audited(world: World) -> None:
    """Killed, cut off, repeated or interleaved at any write: pointer, audit and blocked versions agree."""
    run_machine(world, examples=60, steps=15)


@pytest.fixture
def model(world: World) -> Model:
    return world.new_model()


def versions(model: Model, *contents: bytes) -> list[str]:
    """Promote candidates one after the other."""
    for content in contents:
        model.run(Command("promote", content))
    return [model.candidate(content).version for content in contents]


def serving(model: Model) -> str:
    pointer = model.models.pointer(model.name)
    assert pointer is not None
    return pointer.version


def blocked(model: Model) -> list[str]:
    return rolled_back_versions(model.world.owner, model.name)


def test_a_rollback_killed_before_its_audit_is_completed_by_the_next(model: Model) -> None:
    """Repeated, it returns the interrupted one's outcome and moves nothing; the version left behind stays blocked."""
    old, bad = versions(model, b"one", b"two")
    kill_between_swap_and_audit(model, "roll_back")
    assert (serving(model), blocked(model)) == (old, [])
    outcome = model.run(Command("roll_back"))
    assert outcome is not None
    assert (outcome.decision.promote, outcome.version) == (True, old)
    assert outcome.decision.reason == f"rolled back from {bad} to {old} by ada"
    assert blocked(model) == [bad]
    model.run(Command("promote", b"two"))
    assert serving(model) == old
    model.check(settled=True)


def test_a_promotion_killed_before_its_audit_is_audited_once(model: Model) -> None:
    """By the next candidate's training, by its own run tried again, or by a sweep, which has the metrics follow."""
    versions(model, b"one")
    kill_between_swap_and_audit(model, "promote", "two")
    version = model.candidate(b"two").version
    assert not has_metrics(model.world.owner, model.name, version)
    model.run(Command("sweep"))
    assert has_metrics(model.world.owner, model.name, version)
    again = model.run(Command("promote", b"two"), run_id="run-killed")
    assert again is not None
    assert again.decision.promote
    rows = [row for row in model.audit() if row["version"] == version]
    assert [(row["action"], row["promoted"], row["run_id"]) for row in rows] == [("promote", True, "run-killed")]
    other = model.run(Command("promote", b"two"))
    assert other is not None
    assert "serves already" in other.decision.reason
    model.check(settled=True)


def test_nothing_moves_while_the_database_is_away(model: Model) -> None:
    """A rollback that cannot be recorded is refused before the pointer moves; repeated, it brings no bad version."""
    old, bad = versions(model, b"one", b"two")
    away = Warehouse("postgresql+psycopg2://x:y@127.0.0.1:9/none")
    with pytest.raises(SQLAlchemyError):
        roll_back(model.models, away, model.name, version=None, requested_by="ada", run_id="cli")
    assert serving(model) == bad
    model.run(Command("roll_back"))
    assert (serving(model), blocked(model)) == (old, [bad])


def test_rollbacks_by_default_never_return_to_a_version_left_behind(model: Model) -> None:
    """Each one goes a version further back; at the end it names what a person may still choose."""
    first, second, third = versions(model, b"one", b"two", b"three")
    for target in (second, first):
        model.run(Command("roll_back"))
        assert serving(model) == target
    with pytest.raises(NoEarlierVersion, match=f"{third}, {second}; name one to roll back to it"):
        model.run(Command("roll_back"))
    model.run(Command("roll_back", b"two"))
    assert (serving(model), blocked(model)) == (second, [third, first])
    model.check(settled=True)


def test_a_champion_that_moves_makes_the_round_a_refusal_and_the_candidate_is_evaluated_again(model: Model) -> None:
    """One row for the round that was superseded, one for the round that counts; the run ends as the last one."""
    first, other = versions(model, b"one")[0], Command("promote", b"two")
    compared = iter([other])
    outcome = model.run(
        Command("promote", b"three"), run_id="run-late", meanwhile=lambda: [model.run(each) for each in compared]
    )
    assert outcome is not None
    assert outcome.decision.promote
    assert serving(model) == outcome.version
    rows = [row for row in model.audit() if row["run_id"] == "run-late"]
    assert [(row["action"], row["promoted"]) for row in rows] == [("refuse", False), ("promote", True)]
    second = model.candidate(b"two").version
    assert rows[0]["reason"].startswith(f"superseded: the champion moved from {first} to {second}")
    assert rows[1]["previous"] == second
    assert decision_of_run(model.world.owner, "run-late") == (True, outcome.decision.reason)


def test_a_refusal_against_a_champion_that_is_gone_does_not_count(model: Model) -> None:
    """The candidate lost to the champion that was rolled back meanwhile, and wins against the one that serves."""
    versions(model, b"one", b"two")
    results = iter([WORSE, BETTER])

    def compare(*_: object) -> Comparison:
        if serving(model) == model.candidate(b"two").version:
            model.run(Command("roll_back"))
        return next(results)

    outcome = promote(model.models, model.world.owner, model.candidate(b"three"), compare, POLICY, "run-late")
    assert outcome.decision.promote
    assert serving(model) == outcome.version


def test_a_champion_that_never_rests_is_not_waited_for(model: Model) -> None:
    """A bounded number of rounds, each audited; then the candidate is refused."""
    versions(model, b"0")
    contents = (str(n).encode() for n in range(1, 99))
    outcome = model.run(
        Command("promote", b"late"),
        run_id="run-late",
        meanwhile=lambda: model.run(Command("promote", next(contents))),
    )
    assert outcome is not None
    assert not outcome.decision.promote
    rows = [row for row in model.audit() if row["run_id"] == "run-late"]
    assert len(rows) == MAX_ROUNDS
    assert all(row["reason"].startswith("superseded") for row in rows)
    model.check(settled=True)


def test_a_rollback_does_not_carry_out_a_promotion_that_has_not_moved(model: Model) -> None:
    """The person leaves the champion that serves; the promotion that waited is refused, as the champion moved."""
    old, bad = versions(model, b"one", b"two")

    model.models.write(model.candidate(b"three"))
    ats = count(1)
    while not open_intents(model.world.owner, model.name):  # killed right after it was written down
        with suppress(Killed):
            model.run(Command("promote", b"three"), Fault(next(ats), kill))
    assert serving(model) == bad
    model.run(Command("roll_back"))
    assert (serving(model), blocked(model)) == (old, [bad])
    model.run(Command("sweep"))
    assert model.audit()[-1]["reason"].startswith(f"superseded: the champion moved from {bad} to {old}")
    model.check(settled=True)


def test_movers_at_once_leave_one_chain(model: Model) -> None:
    """Trainings, people and sweeps in threads: each move is audited once, in order, and nothing is left open."""
    versions(model, b"one", b"two")
    commands = [
        Command("roll_back"),
        Command("roll_back"),
        Command("promote", b"three"),
        Command("promote", b"four"),
        Command("roll_back", b"two"),
        Command("sweep"),
    ]

    def carry_out(command: Command) -> None:
        with suppress(NoEarlierVersion):
            model.run(command)

    with ThreadPoolExecutor(len(commands)) as pool:
        for _ in range(5):
            list(pool.map(carry_out, commands))
    model.run(Command("sweep"))
    model.check(settled=True)


def test_every_cut_of_one_mover_at_every_point_of_another(model: Model) -> None:
    """Two rollbacks: the second runs between any two steps of the first, and is killed at any of its own."""
    versions(model, b"one", b"two", b"three")
    outer, at = Fault(), 0
    while outer.reached >= at:
        at += 1
        inner, killed_at = Fault(), 0
        while inner.reached >= killed_at:
            killed_at += 1
            model.run(Command("roll_back", b"three"))
            inner = Fault(killed_at, kill)

            def intrude(_fault: Fault, inner: Fault = inner) -> None:
                with suppress(Killed):
                    model.run(Command("roll_back", b"two"), inner)

            outer = Fault(at, intrude)
            model.run(Command("roll_back", b"one"), outer)
    model.run(Command("sweep"))
    model.check(settled=True)
    assert at > 8
    assert len(model.written) > 2 * at


def test_a_clock_that_was_set_back_does_not_reorder_the_audit(model: Model) -> None:
    """What is blocked depends on the order of decisions: a new row follows the newest one."""
    old, bad = versions(model, b"one", b"two")
    with model.world.owner.begin() as connection:
        mine = promotions.c.model == model.name
        later = [row.id for row in connection.execute(select(promotions.c.id).where(mine, promotions.c.version == bad))]
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        connection.execute(update(promotions).where(promotions.c.id.in_(later)).values(decided_at=tomorrow))
    model.run(Command("roll_back"))
    assert [row["version"] for row in model.audit()] == [old, bad, old]
    assert blocked(model) == [bad]
