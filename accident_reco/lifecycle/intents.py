"""Moves of a model's pointer: written down before they happen, and completed and audited by whoever comes next.

A mover reads the pointer, completes what earlier movers left open (`settle`), decides, and then (`move`): the intent's
row, the compare-and-swap from the tag that it read to the intent's exact document, the audit row under the intent's id.
Killed anywhere, it leaves an open intent, which `complete` ends in the same way for every process.

Why no move escapes the audit and none is audited twice: documents differ (time, run, predecessor, reason), and equal
intents are one, since the id is a hash; so a document is written once. A move away from it needs its tag, which is read
before the open intents are listed; the row of the intent that wrote it was committed before it was. So that row is in
the list, is found to have moved, and is audited before the next move. An intent whose document is not there and whose
tag is no longer the pointer's has therefore been audited, or has never moved and never will. Of two processes that
complete one intent the first audit row stands, by its primary key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy.exc import SQLAlchemyError

from accident_reco.lifecycle.bundle import Manifest, canonical_json
from accident_reco.lifecycle.gate import Decision
from accident_reco.lifecycle.store import ModelStore, Pointer, next_pointer
from accident_reco.storage.objects import StoreError, SwapConflict
from accident_reco.storage.promotions import complete_intent, open_intents, record_intent
from accident_reco.storage.warehouse import Warehouse

MAX_SWAPS = 5
"""Attempts at one swap: a conflict is followed by another read of the pointer, which nearly always explains it."""


class MoveInterrupted(RuntimeError):
    """A move was written down and not completed: store or warehouse failed meanwhile. It will be completed."""


@dataclass(frozen=True)
class Outcome:
    """The decision on a version, and the pointer as it was read last."""

    version: str
    decision: Decision
    pointer: Pointer | None


def move(
    models: ModelStore,
    warehouse: Warehouse,
    manifest: Manifest,
    *,
    action: Literal["promote", "rollback"],
    seen: Pointer | None,
    decision: Decision,
    run_id: str,
    requested_by: str,
) -> Outcome:
    """Let a stored version serve, audited. The outcome is a refusal when the champion moved since `seen` was read.

    Args:
        seen: the settled pointer that the decision was made against (see `settle`).

    Raises:
        SQLAlchemyError: the intent could not be written; nothing moved.
        MoveInterrupted: the intent is written; the next mover or sweep completes it.
    """
    model, pointer = manifest.model, next_pointer(manifest, seen=seen, run_id=run_id, reason=decision.reason)
    tag, document = seen.tag if seen else None, pointer.document()
    intent = {
        "id": hashlib.sha256(canonical_json([model, tag, document])).hexdigest()[:32],
        "model": model,
        "action": action,
        "version": manifest.version,
        "previous": pointer.previous,
        "seen_tag": tag,
        "pointer": document,
        "decision": decision.document(),
        "requested_by": requested_by[:128],
    }
    record_intent(warehouse, intent)
    try:
        completed = complete(models, warehouse, intent)
    except (StoreError, SQLAlchemyError) as error:
        raise MoveInterrupted(
            f"{action} of {model} {manifest.version} is recorded but not complete ({first_line(error)}); "
            "it is completed once store and warehouse answer: by the platform's sensor, or by the same command again"
        ) from error
    assert completed is not None  # only what may wait gives None
    return outcome_of(*completed)


def settle(
    models: ModelStore, warehouse: Warehouse, model: str, *, promotions_wait: bool = False
) -> tuple[Pointer | None, list[dict[str, Any]]]:
    """Complete every open intent of a model.

    Args:
        promotions_wait: leave a promotion that has not moved yet as it is. A rollback does: carried out, the promotion
            would change the champion under the person who rolls back; left alone, it is superseded by the rollback.

    Returns:
        The pointer, read before the last look at the intents, and the audit rows of the intents that were open.
    """
    audited: list[dict[str, Any]] = []
    while True:
        seen = models.pointer(model)
        completed = [
            complete(models, warehouse, intent, may_wait=promotions_wait and intent["action"] == "promote")
            for intent in open_intents(warehouse, model)
        ]
        rows = [done[0] for done in completed if done is not None]
        if not rows:
            return seen, audited
        audited += rows


def complete(
    models: ModelStore, warehouse: Warehouse, intent: Mapping[str, Any], *, may_wait: bool = False
) -> tuple[dict[str, Any], Pointer | None] | None:
    """Carry an intent out if its time has not passed, audit what became of it, and close it.

    Args:
        may_wait: leave it open where the pointer still is the one that it was decided against.

    Returns:
        The audit row that stands and the pointer as it was read last; None for an intent that was left open.

    Raises:
        StoreError, SQLAlchemyError: one of them failed; the intent is open still.
    """
    for _ in range(MAX_SWAPS):
        pointer = models.pointer(intent["model"])
        if pointer is not None and pointer.document() == intent["pointer"]:
            return complete_intent(warehouse, intent, promoted=True, reason=intent["decision"]["reason"]), pointer
        if (pointer.tag if pointer else None) != intent["seen_tag"]:
            reason = superseded(intent["version"], intent["previous"], pointer)
            return complete_intent(warehouse, intent, promoted=False, reason=reason), pointer
        if may_wait:
            return None
        with suppress(SwapConflict):
            models.swap(intent["model"], Pointer(**intent["pointer"]), intent["seen_tag"])
    raise StoreError(f"{intent['model']}: the pointer can be read but not swapped; check that the store compares tags")


def superseded(version: str, before: str | None, pointer: Pointer | None) -> str:
    """Reason of a refusal: the champion that a decision was made against does not serve any more."""
    now = pointer.version if pointer else "none"
    return f"superseded: the champion moved from {before or 'none'} to {now} before {version} could serve"


def outcome_of(row: Mapping[str, Any], pointer: Pointer | None) -> Outcome:
    """An audit row as the outcome of the call that made it."""
    return Outcome(row["version"], Decision(row["promoted"], row["reason"], row["detail"]), pointer)


def first_line(error: BaseException) -> str:
    """An error as one line; a database driver's own words instead of the statement around them."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__
