"""A state machine over a model's pointer: promotions, rollbacks and sweeps that are killed, cut off or interleaved at
any of their reads and writes, with what must hold of pointer and audit after each of them.

It runs on any store and database; `World` says on which.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from accident_reco.lifecycle.bundle import Bundle, canonical_json
from accident_reco.lifecycle.gate import Comparison, GatePolicy, Interval
from accident_reco.lifecycle.intents import MoveInterrupted, Outcome
from accident_reco.lifecycle.promotion import promote, sweep
from accident_reco.lifecycle.rollback import roll_back
from accident_reco.lifecycle.store import ModelStore, NoSuchVersion
from accident_reco.storage.lifecycle import open_intents, promotion_history, rolled_back_versions
from accident_reco.storage.objects import StoreError, open_store
from accident_reco.storage.tables.lifecycle import promotion_intents
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.conftest import ROOT
from accident_reco_tests.support.fault_points import Fault, Killed, WatchedStore, WatchedWarehouse, kill

POLICY = GatePolicy("roc_auc", True, floor=0.5, minimum_gain=0.0)
BETTER = Comparison(100, 50, Interval(0.1, 0.05, 0.15))
WORSE = Comparison(100, 50, Interval(-0.1, -0.15, -0.05))
_models = count()


@dataclass
class World:
    """Where a machine runs: trainings and sweeps as the database's owner, rollbacks as the role of the services."""

    store_url: str
    owner: Warehouse
    services: Warehouse

    def new_model(self) -> Model:
        """A model that has never been promoted; many share one store and database."""
        return Model(self, f"model{next(_models)}")


@dataclass(frozen=True)
class Command:
    """A command: promote a candidate, roll back (to `content`, or by default), sweep."""

    name: str
    content: bytes | None = None
    better: bool = True


@dataclass
class Model:
    """One model of a world, with every pointer that was written."""

    world: World
    name: str
    written: list[bytes] = field(default_factory=list)
    calls: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.store = open_store(self.world.store_url)
        self.models = ModelStore(self.store)

    def candidate(self, content: bytes) -> Bundle:
        return Bundle(self.name, {"model.onnx": content}, {"inputs": 3}, {"roc_auc": 0.8}, {"data_source": "sample"})

    def run(
        self,
        command: Command,
        fault: Fault | None = None,
        run_id: str | None = None,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> Outcome | None:
        """Carry a command out; `meanwhile` is called while a candidate is compared."""
        fault, run_id = fault or Fault(), run_id or self.new_run(command)
        models = ModelStore(WatchedStore(self.store, fault, self.written))
        owner, services = (WatchedWarehouse(each, fault) for each in (self.world.owner, self.world.services))
        if command.name == "sweep":
            sweep(models, owner, self.name)
            return None
        if command.name == "promote":

            def compare(*_: object) -> Comparison:
                meanwhile()
                return BETTER if command.better else WORSE

            return promote(models, owner, self.candidate(command.content or b""), compare, POLICY, run_id)
        version = self.candidate(command.content).version if command.content is not None else None
        return roll_back(models, services, self.name, version=version, requested_by="ada", run_id=run_id)

    def new_run(self, command: Command) -> str:
        """An id that tells promotions, rollbacks to a named version and default rollbacks apart."""
        kind = "default" if command == Command("roll_back") else "named" if command.name == "roll_back" else "run"
        return f"{kind}-{next(self.calls)}"

    def audit(self) -> list[dict[str, Any]]:
        """Every decision, oldest first."""
        return promotion_history(self.world.owner, self.name, limit=10_000)[::-1]

    def check(self, settled: bool = False) -> None:
        """Assert what holds at any time, and with `settled` after a sweep."""
        pointer, opened = self.models.pointer(self.name), open_intents(self.world.owner, self.name)
        with self.world.owner.connect() as connection:
            query = select(promotion_intents.c.pointer).where(promotion_intents.c.model == self.name)
            chosen = {canonical_json(document): document for document in connection.execute(query).scalars()}
        moves = [chosen[raw] for raw in self.written]
        assert len({str(document) for document in moves}) == len(moves), "a pointer was written twice"
        assert (pointer.document() if pointer else None) == (moves[-1] if moves else None)
        blocked: set[str] = set()
        before = None
        for move in moves:
            assert move["previous"] == before
            before, kind = move["version"], move["run_id"].split("-")[0]
            if kind in ("run", "default"):
                assert before not in blocked, f"a version that was rolled back serves again: {move}"
            if kind != "run":
                blocked = (blocked | {move["previous"]}) - {before}
        audited = [
            tuple(row[name] for name in ("version", "previous", "run_id", "reason"))
            for row in self.audit()
            if row["promoted"]
        ]
        moved = [tuple(move[name] for name in ("version", "previous", "run_id", "reason")) for move in moves]
        assert audited in ([moved] if settled else [moved, moved[:-1]])
        if audited == moved:
            assert set(rolled_back_versions(self.world.owner, self.name)) == blocked
        if settled:
            assert opened == []


CONTENTS = [b"one", b"two", b"three"]
COMMANDS = st.one_of(
    st.builds(Command, st.just("promote"), st.sampled_from(CONTENTS), st.booleans()),
    st.builds(Command, st.just("roll_back"), st.none() | st.sampled_from(CONTENTS)),
    st.just(Command("sweep")),
)
POINTS = st.integers(1, 26)


def machine(world: Callable[[], World]) -> type[RuleBasedStateMachine]:
    """The machine on a world."""

    class PointerMachine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.model = world().new_model()
            self.last: tuple[Command, str] | None = None

        def play(self, command: Command, fault: Fault | None = None, **options: Any) -> Outcome | None:
            run_id = options.pop("run_id", None) or self.model.new_run(command)
            self.last = command, run_id
            try:
                outcome = self.model.run(command, fault, run_id, **options)
            except NoSuchVersion:
                assert command.name == "roll_back"
                return None
            except (Killed, MoveInterrupted, StoreError, SQLAlchemyError):
                assert fault is not None, "failed without a fault"
                assert fault.reached >= fault.at
                return None
            if outcome is not None and outcome.decision.promote:
                assert any(row["promoted"] and row["version"] == outcome.version for row in self.model.audit())
            return outcome

        @rule(command=COMMANDS)
        def whole(self, command: Command) -> None:
            self.play(command)
            if command.name == "sweep":
                self.model.check(settled=True)

        @rule(command=COMMANDS, at=POINTS, again=st.booleans())
        def killed(self, command: Command, at: int, again: bool) -> None:
            self.play(command, Fault(at, kill))
            if again:
                self.repeat()

        @rule(command=COMMANDS, at=POINTS, what=st.sampled_from(["store", "warehouse"]))
        def outage(self, command: Command, at: int, what: str) -> None:
            def cut(fault: Fault) -> None:
                fault.down = what

            self.play(command, Fault(at, cut))

        @rule(command=COMMANDS, at=POINTS, other=COMMANDS, other_at=POINTS, then_killed=st.booleans())
        def interleaved(self, command: Command, at: int, other: Command, other_at: int, then_killed: bool) -> None:
            """Another process does something between two steps of this one, and may be killed meanwhile."""

            def intrude(_fault: Fault) -> None:
                try:
                    self.model.run(other, Fault(other_at, kill))
                except NoSuchVersion:
                    assert other.name == "roll_back"
                except Killed:
                    pass
                if then_killed:
                    raise Killed

            self.play(command, Fault(at, intrude))

        @rule(content=st.sampled_from(CONTENTS), other=COMMANDS)
        def stale_challenger(self, content: bytes, other: Command) -> None:
            """The champion moves while a candidate is compared with it."""
            others = iter([other])

            def move_once() -> None:
                for command in others:
                    try:
                        self.model.run(command)
                    except NoSuchVersion:
                        assert command.name == "roll_back"

            self.play(Command("promote", content), meanwhile=move_once)

        def repeat(self) -> None:
            """Repeat the last command by the same run or user: an interrupted rollback has its own result."""
            if self.last is None:
                return
            command, run_id = self.last
            opened, pointer = open_intents(self.model.world.owner, self.model.name), self.model.models.pointer
            before, moves = pointer(self.model.name), len(self.model.written)
            outcome = self.play(command, run_id=run_id)
            if command != Command("roll_back") or [intent["action"] for intent in opened] != ["rollback"]:
                return
            (intent,) = opened
            moved = before is not None and before.document() == intent["pointer"]
            if moved or (before.tag if before else None) == intent["seen_tag"]:
                assert outcome is not None
                assert outcome.decision.promote
                assert outcome.version == intent["version"]
                assert len(self.model.written) - moves == (0 if moved else 1)

        @rule()
        def repeated(self) -> None:
            self.repeat()

        @invariant()
        def holds(self) -> None:
            self.model.check()

        def teardown(self) -> None:
            self.model.run(Command("sweep"))
            self.model.check(settled=True)

    return PointerMachine


def run_machine(world: World, *, examples: int, steps: int) -> None:
    """Run the machine in a world; examples are not shrunk, and none is kept."""
    run_state_machine_as_test(
        machine(lambda: world),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


KILLED = """
import os, signal, sys
from accident_reco.lifecycle import intents
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.pointer_machine import Command, Model, World

intents.complete_intent = lambda *arguments, **options: os.kill(os.getpid(), signal.SIGKILL)
store, owner, services, name, command, content = sys.argv[1:]
model = Model(World(store, Warehouse(owner), Warehouse(services)), name)
model.run(Command(command, content.encode() or None), run_id=f"{'run' if content else 'default'}-killed")
"""


def kill_between_swap_and_audit(model: Model, command: str, content: str = "") -> None:
    """A process of its own, ended by SIGKILL after its pointer was written and before the audit was."""
    world = model.world
    urls = [each.url.render_as_string(hide_password=False) for each in (world.owner, world.services)]
    run = subprocess.run(
        [sys.executable, "-c", KILLED, world.store_url, *urls, model.name, command, content],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == -signal.SIGKILL, run.stderr
    pointer = model.models.pointer(model.name)
    assert pointer is not None
    model.written.append(canonical_json(pointer.document()))
    assert all(row["run_id"] != pointer.run_id for row in model.audit())
