"""Moves of a model's pointer: recorded as intents beforehand, and completed and audited by any process.

A process reads the pointer, completes open intents (`settle`), decides, and moves (`move`): it writes the intent, swaps
the pointer from the expected tag to the intent's exact document, and writes the audit row under the intent's id. Killed
at any point, it leaves an open intent, which `complete` ends in the same way in every process.

Why every move is audited exactly once: documents differ (time, run, predecessor, reason), and equal intents have one
id, so a document is written once. A move away from it needs its tag, which is read before open intents are listed; the
intent that wrote it was committed earlier. So that intent is in the list, is recognised as moved, and is audited before
the next move. An intent whose document is not in the pointer and whose tag is no longer the pointer's has therefore
been audited, or has not moved and cannot. Of two processes that complete one intent, the first audit row stands, by its
primary key.
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
from accident_reco.storage.lifecycle import complete_intent, open_intents, record_intent
from accident_reco.storage.objects import StoreError, SwapConflict
from accident_reco.storage.warehouse import Warehouse

MAX_SWAPS = 5
"""Maximum attempts at one swap; after a conflict the pointer is read again, which nearly always ends the loop."""


class MoveInterrupted(RuntimeError):
    """A move was recorded and not completed, since store or warehouse failed. It will be completed."""


@dataclass(frozen=True)
class Outcome:
    """The decision on a version, and the pointer as read last."""

    version: str
    decision: Decision
    pointer: Pointer | None

    @classmethod
    def from_audit_row(cls, row: Mapping[str, Any], pointer: Pointer | None) -> Outcome:
        """The outcome that an audit row records."""
        return cls(row["version"], Decision(row["promoted"], row["reason"], row["detail"]), pointer)


def move(
    models: ModelStore,
    warehouse: Warehouse,
    manifest: Manifest,
    *,
    action: Literal["promote", "rollback"],
    expected: Pointer | None,
    decision: Decision,
    run_id: str,
    requested_by: str,
) -> Outcome:
    """Make a stored version the champion, audited. Rejected where the pointer is no longer `expected`.

    Args:
        expected: the settled pointer that the decision is based on (see `settle`).

    Raises:
        SQLAlchemyError: the intent could not be written; nothing moved.
        MoveInterrupted: the intent is written; the next move or sweep completes it.
    """
    model, pointer = manifest.model, next_pointer(manifest, expected=expected, run_id=run_id, reason=decision.reason)
    tag, document = expected.tag if expected else None, pointer.document()
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
            "once store and warehouse are available, the platform's sensor completes it, or the same command repeated"
        ) from error
    assert completed is not None  # None only with `may_wait`
    return Outcome.from_audit_row(*completed)


def settle(
    models: ModelStore, warehouse: Warehouse, model: str, *, promotions_wait: bool = False
) -> tuple[Pointer | None, list[dict[str, Any]]]:
    """Complete every open intent of a model.

    Args:
        promotions_wait: leave promotions open that have not moved yet. For rollbacks: completed, the promotion would
            change the champion that the user rolls back from; left open, it is superseded by the rollback.

    Returns:
        The pointer, read before the open intents were listed last, and the audit rows of completed intents.
    """
    audited: list[dict[str, Any]] = []
    while True:
        pointer = models.pointer(model)
        completed = [
            complete(models, warehouse, intent, may_wait=promotions_wait and intent["action"] == "promote")
            for intent in open_intents(warehouse, model)
        ]
        rows = [done[0] for done in completed if done is not None]
        if not rows:
            return pointer, audited
        audited += rows


def complete(
    models: ModelStore, warehouse: Warehouse, intent: Mapping[str, Any], *, may_wait: bool = False
) -> tuple[dict[str, Any], Pointer | None] | None:
    """Carry out an intent unless it is superseded, audit the result, and close the intent.

    Args:
        may_wait: leave it open while the pointer is still the expected one.

    Returns:
        The audit row that stands and the pointer as read last; None for an intent left open.

    Raises:
        StoreError, SQLAlchemyError: the intent is still open.
    """
    for attempt in range(MAX_SWAPS + 1):
        pointer = models.pointer(intent["model"])
        if pointer is not None and pointer.document() == intent["pointer"]:
            return complete_intent(warehouse, intent, promoted=True, reason=intent["decision"]["reason"]), pointer
        if (pointer.tag if pointer else None) != intent["seen_tag"]:
            reason = superseded_reason(intent["version"], intent["previous"], pointer)
            return complete_intent(warehouse, intent, promoted=False, reason=reason), pointer
        if may_wait:
            return None
        if attempt == MAX_SWAPS:
            break
        with suppress(SwapConflict):
            models.swap(intent["model"], Pointer(**intent["pointer"]), intent["seen_tag"])
    raise StoreError(f"{intent['model']}: the pointer can be read but not swapped; check that the store compares tags")


def superseded_reason(version: str, before: str | None, pointer: Pointer | None) -> str:
    """Reason of a rejection: the champion of the decision is no longer the champion."""
    now = pointer.version if pointer else "none"
    return f"superseded: the champion moved from {before or 'none'} to {now} before {version} could serve"


def first_line(error: BaseException) -> str:
    """An error as one line; of a database error the driver's message without the statement."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__
