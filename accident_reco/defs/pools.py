"""Pools: what must not run twice at a time.

A run takes a place in each pool of its steps before it leaves Dagster's queue; dagster.yaml and the Helm chart's values
limit every pool to one run. A rollback is in no pool, and never waits.
"""

from __future__ import annotations

from accident_reco.settings import Settings


def ingest_pool(model: str) -> str:
    """Pool of what writes a model's ingested data."""
    return f"{model}_ingest"


def training_pool(model: str) -> str:
    """Pool of a model's training, with its prepared inputs."""
    return f"{model}_training"


def scoring_pool(model: str) -> str:
    """Pool of a model's batch scoring."""
    return f"{model}_scoring"


def unless_spread(pool: str, settings: Settings) -> str | None:
    """The pool; None where workers execute the runs of different partitions side by side."""
    return None if settings.broker_url else pool
