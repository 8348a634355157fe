"""Tables of the lifecycle of every model: promotion decisions, metrics of versions, requests for work."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, DateTime, Float, Index, String, Table, Text

from accident_reco.storage.tables import metadata

promotions = Table(
    "promotions",
    metadata,
    Column("id", String(32), primary_key=True, comment="Decision id, generated"),
    Column("model", String(32), nullable=False, comment="Model name"),
    Column("version", String(64), nullable=False, comment="Evaluated version"),
    Column("previous", String(64), comment="Champion before the decision"),
    Column(
        "action",
        String(16),
        nullable=False,
        comment="promote, refuse, rollback, or rollout_ with start, advance, promote, back, abort, replace or end",
    ),
    Column("promoted", Boolean, nullable=False, comment="Whether the pointer moved"),
    Column("reason", Text, nullable=False, comment="Reason of the decision"),
    Column("detail", JSON, nullable=False, comment="Figures of the decision: policy, metrics, comparison"),
    Column("run_id", String(64), nullable=False, comment="Dagster run, or the component that requested it"),
    Column("decided_at", DateTime(timezone=True), nullable=False, comment="UTC"),
    Index("ix_promotions_model_decided_at", "model", "decided_at"),
    comment="Append-only audit of promotions, rejections and rollbacks",
)

promotion_intents = Table(
    "promotion_intents",
    metadata,
    Column("id", String(32), primary_key=True, comment="Hash of model, seen_tag and pointer; id of the audit row too"),
    Column("model", String(32), nullable=False, comment="Model name"),
    Column("action", String(16), nullable=False, comment="promote or rollback"),
    Column("version", String(64), nullable=False, comment="Version to become champion"),
    Column("previous", String(64), comment="Champion at the time of the decision"),
    Column(
        "seen_tag", String(128), comment="Tag of the pointer at the time of the decision; empty where there was none"
    ),
    Column("pointer", JSON, nullable=False, comment="Content of the pointer after the move"),
    Column("decision", JSON, nullable=False, comment="Reason and detail, copied to the audit"),
    Column("requested_by", String(128), nullable=False, comment="Account or component that requested it"),
    Column("created_at", DateTime(timezone=True), nullable=False, comment="UTC"),
    Column("completed_at", DateTime(timezone=True), comment="UTC, time of the audit row; empty while the move is open"),
    Index("ix_promotion_intents_model_completed_at", "model", "completed_at"),
    comment="Moves of a pointer, recorded in advance, so that any process can complete and audit them",
)

work_requests = Table(
    "work_requests",
    metadata,
    Column("id", String(32), primary_key=True, comment="Request id, generated"),
    Column("kind", String(16), nullable=False, comment="training or rollback"),
    Column("model", String(32), nullable=False, comment="Model name"),
    Column("source", String(32), nullable=False, comment="Origin: api, alert, drift, data or performance"),
    Column("requested_by", String(128), nullable=False, comment="Account or component that requested it"),
    Column("reason", Text, nullable=False, comment="Reason of the request"),
    Column("detail", JSON, nullable=False, comment="Arguments, such as the version of a rollback"),
    Column(
        "dedupe_key",
        String(128),
        unique=True,
        comment="Deduplication key: repeated requests with one key are one request",
    ),
    Column("status", String(16), nullable=False, comment="queued, running, promoted, refused, failed, held or done"),
    Column("outcome", Text, comment="Reason of the gate, or the error"),
    Column("run_id", String(64), comment="Dagster run of the request"),
    Column("requested_at", DateTime(timezone=True), nullable=False, comment="UTC"),
    Column("updated_at", DateTime(timezone=True), nullable=False, comment="UTC"),
    Index("ix_work_requests_status", "status", "kind"),
    comment="Requests for work; a Dagster sensor starts one run for each",
)

model_metrics = Table(
    "model_metrics",
    metadata,
    Column("model", String(32), primary_key=True, comment="Model name"),
    Column("version", String(64), primary_key=True, comment="Version"),
    Column("metric", String(64), primary_key=True, comment="Metric name, on the frozen holdout"),
    Column("value", Float, nullable=False, comment="Value"),
    Column("data_source", String(32), nullable=False, comment="Source of the training data"),
    Column("created_at", DateTime(timezone=True), comment="UTC, time of the training"),
    comment="Metrics of the stored model versions",
)
