"""Intents of moves: what is recorded, when one is completed, superseded or left open, on a directory and SQLite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from accident_reco.lifecycle.bundle import Bundle, Manifest
from accident_reco.lifecycle.gate import Decision
from accident_reco.lifecycle.intents import (
    MAX_SWAPS,
    MoveInterrupted,
    Outcome,
    complete,
    first_line,
    move,
    settle,
    superseded_reason,
)
from accident_reco.lifecycle.store import ModelStore, Pointer
from accident_reco.storage.lifecycle import open_intents, promotion_history
from accident_reco.storage.objects import ObjectStore, StoreError, SwapConflict
from accident_reco.storage.tables.lifecycle import promotion_intents
from accident_reco.storage.warehouse import Warehouse
from accident_reco_tests.support.fault_points import Fault, WatchedStore, WatchedWarehouse

MODEL = "accidents"
YES = Decision(True, "better", {"gain": 0.5})


def stored(store: ModelStore, content: bytes) -> Manifest:
    return store.write(Bundle(MODEL, {"model.onnx": content}, {"inputs": 3}, {}, {}))


def carry_out(
    store: ModelStore,
    warehouse: Warehouse,
    manifest: Manifest,
    expected: Pointer | None,
    action: Literal["promote", "rollback"] = "promote",
    run_id: str = "r1",
) -> Outcome:
    return move(
        store,
        warehouse,
        manifest,
        action=action,
        expected=expected,
        decision=YES,
        run_id=run_id,
        requested_by="ada",
    )


def interrupt(
    store: ModelStore,
    warehouse: Warehouse,
    manifest: Manifest,
    action: Literal["promote", "rollback"] = "promote",
    run_id: str = "r1",
) -> dict[str, Any]:
    """The open intent of a move whose process lost the store before its swap."""

    def fail(fault: Fault) -> None:
        fault.down = "store"

    expected = store.pointer(MODEL)
    # The first point is the read of the pointer before the swap.
    away = ModelStore(WatchedStore(store.objects, Fault(1, fail), []))
    with pytest.raises(MoveInterrupted):
        carry_out(away, warehouse, manifest, expected, action, run_id)
    return open_intents(warehouse, MODEL)[-1]


def all_intents(warehouse: Warehouse) -> list[Mapping[str, Any]]:
    with warehouse.connect() as connection:
        query = select(promotion_intents).order_by(promotion_intents.c.created_at)
        return list(connection.execute(query).mappings())


class StaleStore(WatchedStore):
    """A store whose swaps conflict a number of times though the tag is right, as one with delayed reads does."""

    def __init__(self, inner: ObjectStore, conflicts: int) -> None:
        super().__init__(inner, Fault(), [])
        self.conflicts = conflicts

    def swap(self, key: str, data: bytes, expected: str | None) -> str:
        if self.conflicts:
            self.conflicts -= 1
            raise SwapConflict(f"{key} was changed")
        return super().swap(key, data, expected)


def test_a_move_is_recorded_carried_out_and_audited(store: ModelStore, warehouse: Warehouse) -> None:
    """The intent has the exact pointer and the expected tag; the audit row has its id."""
    one, two = stored(store, b"one"), stored(store, b"two")
    first = carry_out(store, warehouse, one, None)
    expected = store.pointer(MODEL)
    second = carry_out(store, warehouse, two, expected, "rollback", "r2")
    pointer = store.pointer(MODEL)
    assert expected is not None
    assert pointer is not None
    assert first == Outcome(one.version, YES, expected)
    assert second == Outcome(two.version, YES, pointer)
    assert (pointer.version, pointer.manifest_sha256) == (two.version, two.sha256)
    assert (pointer.previous, pointer.run_id, pointer.reason) == (one.version, "r2", "better")
    before, after = all_intents(warehouse)
    assert (before["previous"], before["seen_tag"], before["pointer"]) == (None, None, expected.document())
    row = {name: value for name, value in after.items() if name not in ("id", "created_at", "completed_at")}
    assert row == {
        "model": MODEL,
        "action": "rollback",
        "version": two.version,
        "previous": one.version,
        "seen_tag": expected.tag,
        "pointer": pointer.document(),
        "decision": {"promote": True, "reason": "better", "detail": {"gain": 0.5}},
        "requested_by": "ada",
    }
    assert after["completed_at"] is not None
    assert [entry["id"] for entry in promotion_history(warehouse, MODEL)] == [after["id"], before["id"]]
    assert before["id"] != after["id"]
    assert {len(str(entry["id"])) for entry in (before, after)} == {32}


def test_a_long_name_of_the_requester_is_cut(store: ModelStore, warehouse: Warehouse) -> None:
    """To the width of its column: PostgreSQL would reject the row."""
    move(
        store,
        warehouse,
        stored(store, b"one"),
        action="promote",
        expected=None,
        decision=YES,
        run_id="r1",
        requested_by="x" * 200,
    )
    assert all_intents(warehouse)[0]["requested_by"] == "x" * 128


@pytest.mark.parametrize(("action", "audited"), [("promote", "refuse"), ("rollback", "rollback")])
def test_a_move_from_another_pointer_is_superseded(
    store: ModelStore, warehouse: Warehouse, action: Literal["promote", "rollback"], audited: str
) -> None:
    """Audited as rejected with the champion that came first; the outcome has its pointer."""
    one, two, three = (stored(store, content) for content in (b"one", b"two", b"three"))
    carry_out(store, warehouse, one, None)
    expected = store.pointer(MODEL)
    carry_out(store, warehouse, two, expected, run_id="r2")
    outcome = carry_out(store, warehouse, three, expected, action, "r3")
    reason = f"superseded: the champion moved from {one.version} to {two.version} before {three.version} could serve"
    assert outcome == Outcome(three.version, Decision(False, reason, {"gain": 0.5}), store.pointer(MODEL))
    row = promotion_history(warehouse, MODEL)[0]
    assert (row["action"], row["promoted"], row["run_id"]) == (audited, False, "r3")
    assert open_intents(warehouse, MODEL) == []


def test_an_intent_that_cannot_be_recorded_moves_nothing(store: ModelStore, warehouse: Warehouse) -> None:
    """An error of the database, not an interrupted move: there is nothing to complete."""
    one = stored(store, b"one")
    with warehouse.begin() as connection:
        connection.execute(text("DROP TABLE promotion_intents"))
    with pytest.raises(SQLAlchemyError):
        carry_out(store, warehouse, one, None)
    assert store.pointer(MODEL) is None


@pytest.mark.parametrize("action", ["promote", "rollback"])
def test_an_interrupted_move_names_its_cause_and_what_completes_it(
    store: ModelStore, warehouse: Warehouse, action: Literal["promote", "rollback"]
) -> None:
    """The error keeps its cause; the intent stays open."""
    one = stored(store, b"one")

    def fail(fault: Fault) -> None:
        fault.down = "warehouse"

    # Points of the warehouse: before and after the intent is written, then before the audit row.
    with pytest.raises(MoveInterrupted) as caught:
        carry_out(store, WatchedWarehouse(warehouse, Fault(3, fail)), one, None, action)
    assert str(caught.value) == (
        f"{action} of accidents {one.version} is recorded but not complete (connection refused); once store and "
        "warehouse are available, the platform's sensor completes it, or the same command repeated"
    )
    assert isinstance(caught.value.__cause__, OperationalError)
    assert [intent["version"] for intent in open_intents(warehouse, MODEL)] == [one.version]


def test_settle_completes_what_is_open(store: ModelStore, warehouse: Warehouse) -> None:
    """It returns the pointer after the completed moves and their audit rows, also those that were superseded."""
    assert settle(store, warehouse, MODEL) == (None, [])
    one, two = stored(store, b"one"), stored(store, b"two")
    interrupt(store, warehouse, one)
    interrupt(store, warehouse, two, run_id="r2")
    pointer, audited = settle(store, warehouse, MODEL)
    assert pointer == store.pointer(MODEL)
    assert pointer is not None
    assert pointer.version == one.version
    assert [(row["version"], row["promoted"], row["run_id"]) for row in audited] == [
        (one.version, True, "r1"),
        (two.version, False, "r2"),
    ]
    assert audited[1]["reason"] == (
        f"superseded: the champion moved from none to {one.version} before {two.version} could serve"
    )
    assert settle(store, warehouse, MODEL) == (pointer, [])


def test_settle_completes_an_intent_that_comes_meanwhile(store: ModelStore, warehouse: Warehouse) -> None:
    """Intents are listed until none is completed, and every completed one is returned."""
    one, two = stored(store, b"one"), stored(store, b"two")
    interrupt(store, warehouse, one)

    def intrude(_: Fault) -> None:
        interrupt(store, warehouse, two, run_id="r2")

    # Points of the warehouse: the list of open intents, then the audit row of the first one, before and after.
    pointer, audited = settle(store, WatchedWarehouse(warehouse, Fault(3, intrude)), MODEL)
    assert [row["version"] for row in audited] == [one.version, two.version]
    assert [row["promoted"] for row in audited] == [True, True]
    assert pointer == store.pointer(MODEL)
    assert pointer is not None
    assert pointer.version == two.version


def test_a_rollback_leaves_promotions_open_that_have_not_moved(store: ModelStore, warehouse: Warehouse) -> None:
    """Interrupted rollbacks are completed, which supersedes the promotions that waited."""
    one, two, three = (stored(store, content) for content in (b"one", b"two", b"three"))
    carry_out(store, warehouse, one, None)
    interrupt(store, warehouse, two, run_id="r2")
    pointer, audited = settle(store, warehouse, MODEL, promotions_wait=True)
    assert (pointer, audited) == (store.pointer(MODEL), [])
    assert pointer is not None
    assert pointer.version == one.version
    assert [intent["version"] for intent in open_intents(warehouse, MODEL)] == [two.version]
    interrupt(store, warehouse, three, "rollback", "r3")
    pointer, audited = settle(store, warehouse, MODEL, promotions_wait=True)
    assert pointer is not None
    assert pointer.version == three.version
    assert [(row["version"], row["action"], row["promoted"]) for row in audited] == [
        (three.version, "rollback", True),
        (two.version, "refuse", False),
    ]


def test_a_promotion_that_has_moved_does_not_wait(store: ModelStore, warehouse: Warehouse) -> None:
    """Only its audit row is missing, which is written for a rollback, too."""
    one = stored(store, b"one")
    intent = interrupt(store, warehouse, one)
    store.swap(MODEL, Pointer(**intent["pointer"]), intent["seen_tag"])
    pointer, audited = settle(store, warehouse, MODEL, promotions_wait=True)
    assert pointer == store.pointer(MODEL)
    assert [(row["version"], row["promoted"], row["reason"]) for row in audited] == [(one.version, True, "better")]


def test_a_completed_intent_keeps_its_first_audit_row(store: ModelStore, warehouse: Warehouse) -> None:
    """Two processes that complete one intent: the second gets the row of the first, though the pointer went on."""
    one, two = stored(store, b"one"), stored(store, b"two")
    intent = interrupt(store, warehouse, one)
    first = complete(store, warehouse, intent)
    carry_out(store, warehouse, two, store.pointer(MODEL), run_id="r2")
    second = complete(store, warehouse, intent)
    assert first is not None
    assert second is not None
    assert (first[0]["promoted"], second[0]["promoted"], second[0]["id"]) == (True, True, intent["id"])
    assert (first[1].version if first[1] else None, second[1]) == (one.version, store.pointer(MODEL))
    assert len(promotion_history(warehouse, MODEL)) == 2


def test_an_intent_waits_only_where_it_may(store: ModelStore, warehouse: Warehouse) -> None:
    """By default it is carried out at once."""
    intent = interrupt(store, warehouse, stored(store, b"one"))
    assert complete(store, warehouse, intent, may_wait=True) is None
    assert store.pointer(MODEL) is None
    completed = complete(store, warehouse, intent)
    assert completed is not None
    assert completed[0]["promoted"] is True
    assert completed[1] == store.pointer(MODEL)


def test_a_conflict_is_no_end_while_the_tag_is_the_same(store: ModelStore, warehouse: Warehouse) -> None:
    """The pointer is read again after each attempt, the last one too: its swap counts after four conflicts."""
    intent = interrupt(store, warehouse, stored(store, b"one"))
    stale = ModelStore(StaleStore(store.objects, MAX_SWAPS - 1))
    completed = complete(stale, warehouse, intent)
    assert completed is not None
    assert completed[0]["promoted"] is True


def test_a_store_that_never_swaps_is_named(store: ModelStore, warehouse: Warehouse) -> None:
    """As many attempts as the limit, then an error of the store; the intent stays open."""
    intent = interrupt(store, warehouse, stored(store, b"one"))
    broken = StaleStore(store.objects, 99)
    with pytest.raises(StoreError) as caught:
        complete(ModelStore(broken), warehouse, intent)
    assert str(caught.value) == (
        "accidents: the pointer can be read but not swapped; check that the store compares tags"
    )
    assert broken.conflicts == 99 - MAX_SWAPS
    assert len(open_intents(warehouse, MODEL)) == 1


def test_the_reason_of_a_superseded_decision_names_both_champions() -> None:
    """A champion that is absent is `none`, before and after."""
    pointer = Pointer("b", "", "", "", None, "")
    assert superseded_reason("c", "a", pointer) == "superseded: the champion moved from a to b before c could serve"
    assert superseded_reason("c", None, None) == "superseded: the champion moved from none to none before c could serve"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("  first \nsecond"), "first"),
        (ValueError(" \n "), "ValueError"),
        (OperationalError("SELECT 1", None, ConnectionError("refused\nhint")), "refused"),
    ],
)
def test_an_error_is_shown_as_its_first_line(error: Exception, line: str) -> None:
    """Of a database error the driver's own; of an error without text its type."""
    assert first_line(error) == line
