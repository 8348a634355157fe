"""The last step of a training: the gate evaluates the candidate, or an operator rolls back to an older version."""

from collections.abc import Callable, Sequence

import dagster as dg

from accident_reco.defs.dataset import WriteInputs, build_recorder
from accident_reco.defs.links import link_tracked_run, link_version
from accident_reco.defs.mlflow_tracking import record_decision
from accident_reco.defs.resources import Platform
from accident_reco.lifecycle.bundle import Bundle
from accident_reco.lifecycle.gate import GatePolicy
from accident_reco.lifecycle.promotion import Compare, promote
from accident_reco.lifecycle.rollback import roll_back
from accident_reco.lifecycle.rollout.plans import plan_rollout


class Promotion(dg.Config):
    """How the pointer moves: to the candidate if the gate promotes it, or back to an older version."""

    rollback: bool = False
    version: str | None = None


def move_pointer(
    context: dg.AssetExecutionContext,
    platform: Platform,
    config: Promotion,
    candidate: Bundle,
    against: Compare,
    policy: GatePolicy,
    write_inputs: WriteInputs,
    problems: Callable[[], Sequence[str]] = tuple,
) -> dg.MaterializeResult:
    """Carry out the decision; returns it as metadata.

    Args:
        against: called only when there is a champion to compare with.
        write_inputs: writes the candidate's inputs into a folder; called where inputs are versioned.
        problems: returns failed data checks that block the candidate; not called for a rollback.
    """
    models, warehouse, run_id = platform.models, platform.warehouse, context.run.run_id
    if config.rollback or config.version:
        outcome = roll_back(
            models, warehouse, candidate.model, version=config.version, requested_by="operator", run_id=run_id
        )
    else:
        record_inputs = build_recorder(context, platform, write_inputs)
        rollout = plan_rollout(platform.settings, candidate.model)
        outcome = promote(models, warehouse, candidate, against, policy, run_id, problems(), record_inputs, rollout)
    log = context.log.info if outcome.decision.promote else context.log.warning
    log("%s %s: %s", candidate.model, outcome.version, outcome.decision.reason)
    record_decision(context, platform, candidate.model, outcome.version, outcome.decision, outcome.pointer)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(outcome.pointer.version if outcome.pointer else "none"),
        metadata={
            "promoted": outcome.decision.promote,
            "reason": outcome.decision.reason,
            "candidate": outcome.version,
            "serving": outcome.pointer.version if outcome.pointer else "none",
            "decision": dg.MetadataValue.json(outcome.decision.document()),
            **link_version(platform.settings, candidate.model, outcome.version),
            **link_tracked_run(platform.settings, candidate.lineage.get("mlflow_run_id")),
        },
    )
