"""The plan of a model's rollouts, from the settings."""

from __future__ import annotations

from datetime import timedelta

from accident_reco.lifecycle.rollout.control import Plan
from accident_reco.lifecycle.rollout.decision import RolloutPolicy
from accident_reco.settings import Settings


def plan_rollout(settings: Settings, model: str) -> Plan | None:
    """How a version that passed the gate proves itself; None where it becomes champion at once."""
    mode = settings.rollout_mode(model)
    if mode == "direct":
        return None
    policy = RolloutPolicy(
        margin=settings.rollout_margin,
        step_seconds=settings.rollout_step_seconds,
        step_calls=settings.rollout_step_calls,
        max_labels=settings.rollout_labels,
        error_rate=settings.rollout_error_rate,
        latency_factor=settings.rollout_latency_factor,
        undecided=settings.rollout_undecided,
    )
    return Plan(
        "canary" if mode == "canary" else "shadow",
        settings.rollout_shares,
        timedelta(days=settings.rollout_days),
        policy,
    )
