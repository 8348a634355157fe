"""Table of the predictions that two versions computed on the same inputs."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, Float, Index, String, Table

from accident_reco.storage.tables import metadata

rollout_calls = Table(
    "rollout_calls",
    metadata,
    Column("id", String(40), primary_key=True, comment="Prediction id of the response"),
    Column("model", String(32), nullable=False, comment="Model name"),
    Column("champion", String(64), nullable=False, comment="Version that served when the rollout began"),
    Column("challenger", String(64), nullable=False, comment="Version in the rollout"),
    Column("answered_by", String(64), nullable=False, comment="The version whose result was the response"),
    Column("at", DateTime(timezone=True), nullable=False, comment="UTC"),
    Column("group_key", String(80), comment="Group of dependent rows; empty for an independent row"),
    Column("champion_score", Float, comment="Probability or value; empty for a ranking"),
    Column("challenger_score", Float, comment="Probability or value; empty for a ranking"),
    Column("agreement", Float, comment="1 for the same class, else 0; share of common items for a ranking"),
    Column("champion_ms", Float, comment="Time of the model alone, in milliseconds; where both were timed alike"),
    Column("challenger_ms", Float, comment="As champion_ms"),
    Column("problem", String(16), comment="failed, not_finite (challenger) or champion_failed; empty for a comparison"),
    Index("ix_rollout_calls_challenger_at", "model", "challenger", "at"),
    comment="Predictions of a rollout, computed by champion and challenger on the same inputs",
)
