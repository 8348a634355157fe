"""Tables of the lifecycle of every model: promotion decisions, metrics of versions, requests for work."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, DateTime, Float, Index, String, Table, Text

from accident_reco.storage.tables import metadata

promotions = Table(
    "promotions",
    metadata,
    Column("id", String(32), primary_key=True, comment="Decision id, made by the platform"),
    Column("model", String(32), nullable=False, comment="Model name"),
    Column("version", String(64), nullable=False, comment="Version that was decided on"),
    Column("previous", String(64), comment="Version that served before"),
    Column("action", String(16), nullable=False, comment="promote, refuse or rollback"),
    Column("promoted", Boolean, nullable=False, comment="Whether the pointer moved"),
    Column("reason", Text, nullable=False, comment="The gate's reason, word for word"),
    Column("detail", JSON, nullable=False, comment="Numbers behind the reason"),
    Column("run_id", String(64), nullable=False, comment="Dagster run, or who asked"),
    Column("decided_at", DateTime(timezone=True), nullable=False, comment="UTC"),
    Index("ix_promotions_model_decided_at", "model", "decided_at"),
    comment="Append-only audit of every promotion, refusal and rollback",
)

promotion_intents = Table(
    "promotion_intents",
    metadata,
    Column("id", String(32), primary_key=True, comment="Hash of model, seen_tag and pointer; id of the audit row too"),
    Column("model", String(32), nullable=False, comment="Model name: accidents or movies"),
    Column("action", String(16), nullable=False, comment="promote or rollback"),
    Column("version", String(64), nullable=False, comment="Version that shall serve"),
    Column("previous", String(64), comment="Version that served when it was decided"),
    Column(
        "seen_tag", String(128), comment="Tag of the pointer that it was decided against; empty where there was none"
    ),
    Column("pointer", JSON, nullable=False, comment="The exact document that the pointer shall hold"),
    Column("decision", JSON, nullable=False, comment="Reason and detail for the audit"),
    Column("requested_by", String(128), nullable=False, comment="Account or component that requested it"),
    Column("created_at", DateTime(timezone=True), nullable=False, comment="UTC"),
    Column("completed_at", DateTime(timezone=True), comment="UTC, time of the audit row; empty while it is open"),
    Index("ix_promotion_intents_model_completed_at", "model", "completed_at"),
    comment="Moves of a pointer, written before it moves, so that any process can complete and audit them",
)

work_requests = Table(
    "work_requests",
    metadata,
    Column("id", String(32), primary_key=True, comment="Request id, made by the platform"),
    Column("kind", String(16), nullable=False, comment="training or rollback"),
    Column("model", String(32), nullable=False, comment="Model name"),
    Column("source", String(32), nullable=False, comment="Who asked: api, alert, drift, data, performance"),
    Column("requested_by", String(128), nullable=False, comment="Account or component that asked"),
    Column("reason", Text, nullable=False, comment="Why, in words"),
    Column("detail", JSON, nullable=False, comment="Arguments, such as the version of a rollback"),
    Column("dedupe_key", String(128), unique=True, comment="Asking twice with one key makes one request"),
    Column("status", String(16), nullable=False, comment="queued, running, promoted, refused, failed or done"),
    Column("outcome", Text, comment="The gate's reason, or the error"),
    Column("run_id", String(64), comment="Dagster run that works on it"),
    Column("requested_at", DateTime(timezone=True), nullable=False, comment="UTC"),
    Column("updated_at", DateTime(timezone=True), nullable=False, comment="UTC"),
    Index("ix_work_requests_status", "status", "kind"),
    comment="Requests for work: servers write rows, a Dagster sensor turns rows into runs exactly once",
)

model_metrics = Table(
    "model_metrics",
    metadata,
    Column("model", String(32), primary_key=True, comment="Model name"),
    Column("version", String(64), primary_key=True, comment="Version"),
    Column("metric", String(64), primary_key=True, comment="Metric name, on the frozen holdout"),
    Column("value", Float, nullable=False, comment="Value"),
    Column("data_source", String(32), nullable=False, comment="What the version was trained from"),
    Column("created_at", DateTime(timezone=True), comment="UTC, when the version was made"),
    comment="Metrics of every model version in the store",
)
