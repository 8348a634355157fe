"""Rollout of a model in Dagster: an asset that evaluates the evidence and carries out the decision, and its sensor."""

import time
from datetime import datetime
from typing import Any

import dagster as dg

from accident_reco.contract import Model
from accident_reco.defs.links import link_version
from accident_reco.defs.resources import Platform
from accident_reco.defs.rollout_plot import rollout_plot
from accident_reco.defs.tags import REASON_TAG
from accident_reco.lifecycle.rollout.control import abort, carry_out, settle
from accident_reco.lifecycle.rollout.decision import decide, read_policy
from accident_reco.lifecycle.rollout.evidence import gather
from accident_reco.lifecycle.rollout.state import Rollout
from accident_reco.settings import Settings
from accident_reco.storage.clock import utc_now
from accident_reco.storage.objects import StoreError

GROUP = "rollout"


def rollout_job(model: str) -> str:
    """Name of the job that evaluates a model's rollout."""
    return f"evaluate_{model}_rollout"


def evaluate(platform: Platform, model: Model, now: datetime) -> Rollout | None:
    """Evaluate the running rollout of a model and carry out the decision; None: there is none.

    Raises:
        SwapConflict: another process decided meanwhile; nothing else happened.
        MoveInterrupted: the promotion is recorded and will be completed.
    """
    models, warehouse = platform.models, platform.warehouse
    rollout = settle(models, warehouse, model.name, now)
    if rollout is None or not rollout.is_running:
        return rollout
    if platform.settings.rollout_mode(model.name) == "direct":
        return abort(models, warehouse, rollout, by="platform", reason="rollouts are switched off", now=now)
    policy = read_policy(rollout.rule)
    evidence = gather(platform, model, rollout, policy, now)
    step = decide(rollout, evidence, now, policy)
    return carry_out(models, warehouse, rollout, step, by="rollout", now=now, evidence=evidence)


def _rollout_asset(model: Model) -> dg.AssetsDefinition:
    @dg.asset(
        key=dg.AssetKey([model.name, "rollout"]),
        deps=[dg.AssetKey([model.name, "production_model"])],
        group_name=GROUP,
        kinds={"python"},
        code_version="1",
        description="The version that proves itself on live traffic: its steps, its evidence, its end.",
    )
    def rollout(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:
        """Evaluate the rollout and show its timeline."""
        state = evaluate(platform, model, utc_now())
        if state is None:
            raise dg.Failure(f"{model.name} has no rollout", allow_retries=False)
        last = state.latest if state.is_running and state.latest else state.decisions[-1]
        context.log.info("%s %s: %s, %s", model.name, state.challenger, last["action"], last["reason"])
        link = link_version(platform.settings, model.name, state.challenger)
        return dg.MaterializeResult(metadata=_metadata(state) | link)

    return rollout


def _metadata(state: Rollout) -> dict[str, Any]:
    last = state.latest or state.decisions[-1]
    return {
        "state": state.outcome or "running",
        "mode": state.mode,
        "share": state.share,
        "challenger": state.challenger,
        "champion": state.champion,
        "reason": last["reason"],
        "labels": state.curve[-1]["labels"] if state.curve else 0,
        "timeline": dg.MetadataValue.md(_timeline(state)),
        **({"evidence": dg.MetadataValue.md(rollout_plot(state))} if state.curve else {}),
    }


def _timeline(state: Rollout) -> str:
    lines = ["| at | decision | share | by | reason |", "|---|---|---|---|---|"]
    for row in state.decisions:
        reason = row["reason"].replace("|", "/").replace("<", "‹")
        lines.append(f"| {row['at'][:19]} | {row['action']} | {row['share']:.0%} | {row['by']} | {reason} |")
    return "\n".join(lines)


def _sensor(model: Model, settings: Settings) -> dg.SensorDefinition:
    @dg.sensor(
        name=f"{model.name}_rollout",
        job_name=rollout_job(model.name),
        minimum_interval_seconds=settings.trigger_interval,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Evaluates a running rollout: advance, hold, promote or roll back.",
    )
    def rollout_sensor(context: dg.SensorEvaluationContext, platform: Platform) -> dg.RunRequest | dg.SkipReason:
        """Start an evaluation of a running rollout at every interval, and one after it ended."""
        try:
            state = settle(platform.models, platform.warehouse, model.name, utc_now())
        except StoreError as error:
            return dg.SkipReason(f"the model store failed; the next tick tries again: {error}")
        if state is None:
            return dg.SkipReason("no rollout")
        interval = platform.settings.rollout_evaluation_seconds
        turn = str(int(time.time() // interval)) if state.is_running else str(state.outcome)
        key = f"{state.challenger}:{state.since}:{turn}"
        if context.cursor == key:
            return dg.SkipReason(f"{state.challenger}: {state.outcome or 'evaluated within the interval'}")
        context.update_cursor(key)
        why = f"the rollout of {state.challenger} is {'evaluated' if state.is_running else state.outcome}"
        return dg.RunRequest(run_key=key, tags={"rollout": state.challenger, REASON_TAG: why})

    return rollout_sensor


def definitions(model: Model, settings: Settings) -> dg.Definitions:
    """Asset, job and sensor of a model's rollout."""
    job = dg.define_asset_job(
        rollout_job(model.name),
        selection=dg.AssetSelection.assets(dg.AssetKey([model.name, "rollout"])),
        executor_def=dg.in_process_executor,  # one step: a process of its own would only load everything twice
        description=f"Evaluate the rollout of {model.name} and carry out the decision.",
    )
    return dg.Definitions(assets=[_rollout_asset(model)], jobs=[job], sensors=[_sensor(model, settings)])
