"""The last step of both models: the gate judges the candidate, or an older version is called back."""

from collections.abc import Callable, Sequence

import dagster as dg

from accident_reco.defs.dataset import Fill, keeper
from accident_reco.defs.mlflow_tracking import record_decision
from accident_reco.defs.resources import Platform
from accident_reco.lifecycle.bundle import Bundle
from accident_reco.lifecycle.gate import GatePolicy
from accident_reco.lifecycle.promotion import Compare, promote
from accident_reco.lifecycle.rollback import roll_back


class Promotion(dg.Config):
    """What to do with the pointer: judge the candidate, or roll back to an older version."""

    rollback: bool = False
    version: str | None = None


def move_pointer(
    context: dg.AssetExecutionContext,
    platform: Platform,
    config: Promotion,
    candidate: Bundle,
    against: Compare,
    policy: GatePolicy,
    fill: Fill,
    problems: Callable[[], Sequence[str]] = tuple,
) -> dg.MaterializeResult:
    """Carry the decision out and tell it as metadata.

    Args:
        against: called only when there is a champion to compare with.
        fill: writes the candidate's inputs into a folder, where their versions are kept.
        problems: reasons why the candidate's data may not teach; a rollback does not ask.
    """
    models, warehouse, run_id = platform.models, platform.warehouse, context.run.run_id
    if config.rollback or config.version:
        outcome = roll_back(
            models, warehouse, candidate.model, version=config.version, requested_by="operator", run_id=run_id
        )
    else:
        keep = keeper(context, platform, fill)
        outcome = promote(models, warehouse, candidate, against, policy, run_id, problems(), keep)
    record_decision(context, platform, candidate.model, outcome.version, outcome.decision, outcome.pointer)
    return dg.MaterializeResult(
        metadata={
            "promoted": outcome.decision.promote,
            "reason": outcome.decision.reason,
            "candidate": outcome.version,
            "serving": outcome.pointer.version if outcome.pointer else "none",
            "decision": dg.MetadataValue.json(outcome.decision.document()),
        }
    )
