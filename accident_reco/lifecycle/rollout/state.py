"""A rollout's state: `models/<model>/rollout.json`, beside the pointer, moved by compare-and-swap.

The state never makes a version champion: the pointer does. A rollout that runs while the pointer names another
champion than the one it began with is over, whatever the object says; `find_end` says how. So a crash between the two
writes leaves one champion, and the next look completes the state.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

from accident_reco.lifecycle.bundle import canonical_json
from accident_reco.lifecycle.store import ModelStore, Pointer
from accident_reco.storage.objects import ObjectNotFound

Mode = Literal["shadow", "canary"]
Outcome = Literal["promoted", "rolled_back", "aborted", "replaced", "superseded"]

MAX_DECISIONS: Final = 100
"""Decisions kept in the state; the audit has all of them."""
MAX_POINTS: Final = 500
"""Points of the curve; of more, every second one is dropped."""

_BUCKETS: Final = 10_000


@dataclass(frozen=True)
class Rollout:
    """One rollout.

    Args:
        champion: the version that served when it began.
        challenger: the version that proves itself.
        manifest_sha256: of the challenger.
        share: share of the traffic that the challenger answers; 0 in a shadow.
        steps: shares of a canary before the whole traffic, ascending.
        since: UTC, ISO 8601.
        step_since: UTC, beginning of the present step.
        ends: UTC, end of the budget of time.
        rule: the policy's fields, as they were at the start.
        run_id: run of the training.
        decisions: `{"id", "at", "action", "reason", "share", "by"}`, oldest first.
        latest: the newest evaluation, `{"at", "action", "reason"}`; most of them hold.
        curve: the evidence of each evaluation, oldest first, as `Evidence.document` returns it, with `at`.
        outcome: how it ended; None while it runs.
        tag: the object's tag, for compare-and-swap; not stored.
    """

    model: str
    champion: str
    challenger: str
    manifest_sha256: str
    mode: Mode
    share: float
    steps: Sequence[float]
    since: str
    step_since: str
    ends: str
    rule: Mapping[str, Any]
    run_id: str
    decisions: Sequence[Mapping[str, Any]] = ()
    latest: Mapping[str, Any] | None = None
    curve: Sequence[Mapping[str, Any]] = ()
    outcome: Outcome | None = None
    tag: str = ""

    @property
    def is_running(self) -> bool:
        """Whether no outcome is recorded yet; `find_end` compares with the pointer as well."""
        return self.outcome is None

    def evaluated(self, at: str, action: str, reason: str, evidence: Mapping[str, Any]) -> Rollout:
        """The state with the outcome of an evaluation."""
        curve = [*self.curve, {"at": at, **evidence}]
        if len(curve) > MAX_POINTS:
            curve = curve[:-1:2] + curve[-1:]
        return replace(self, latest={"at": at, "action": action, "reason": reason}, curve=curve)

    @property
    def previous_share(self) -> float:
        """Share of the step before the present one."""
        return max((share for share in self.steps if share < self.share), default=0.0)

    @classmethod
    def parse(cls, raw: bytes, tag: str = "") -> Rollout:
        """The state in stored bytes. Raises ValueError where they are damaged."""
        try:
            return cls(**json.loads(raw), tag=tag)
        except (TypeError, ValueError) as error:
            raise ValueError(f"rollout.json is damaged: {error}") from None

    def document(self) -> dict[str, Any]:
        """The stored fields."""
        fields = asdict(self)
        del fields["tag"]
        return fields

    def decided(self, at: str, action: str, reason: str, by: str, **changes: Any) -> Rollout:
        """The state after a decision, with `changes` of other fields."""
        changed = replace(self, **changes)
        row = {"at": at, "action": action, "reason": reason, "share": changed.share, "by": by}
        row["id"] = hashlib.sha256(canonical_json([self.model, self.challenger, self.since, row])).hexdigest()[:32]
        return replace(changed, decisions=[*self.decisions, row][-MAX_DECISIONS:])


def read_rollout(models: ModelStore, model: str) -> Rollout | None:
    """The latest rollout of a model, running or ended. Raises ValueError where it is damaged."""
    try:
        return Rollout.parse(*models.objects.read_tagged(_key(model)))
    except ObjectNotFound:
        return None


def write_rollout(models: ModelStore, rollout: Rollout, expected: Rollout | None) -> Rollout:
    """Replace the state if it is still the expected one (None: if there is none). Raises SwapConflict."""
    raw = canonical_json(rollout.document())
    return replace(rollout, tag=models.objects.swap(_key(rollout.model), raw, expected.tag if expected else None))


def _key(model: str) -> str:
    return f"models/{model}/rollout.json"


def find_end(rollout: Rollout, pointer: Pointer | None) -> tuple[Outcome, str] | None:
    """How a rollout ended by a move of the pointer, with the reason; None while its champion serves."""
    version = pointer.version if pointer else None
    if version == rollout.champion:
        return None
    if version == rollout.challenger:
        return "promoted", f"{rollout.challenger} is champion"
    return "superseded", f"the champion moved from {rollout.champion} to {version or 'none'}"


def is_chosen(share: float, key: str, challenger: str) -> bool:
    """Whether the challenger answers for a key (an account, a user).

    The choice depends on key and challenger alone: whoever it answers at a share, it answers at every larger one, in
    every process; and another challenger meets other keys first.
    """
    digest = hashlib.blake2b(f"{challenger}\0{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % _BUCKETS < round(share * _BUCKETS)
