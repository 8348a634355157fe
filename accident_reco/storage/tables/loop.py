"""Tables of the closed loop: drift reports, alerts that came in, retrain decisions, notifications."""

from __future__ import annotations

from sqlalchemy import JSON, Column, DateTime, Float, Index, Integer, String, Table, Text, UniqueConstraint

from accident_reco.storage.tables import metadata

drift_reports = Table(
    "drift_reports",
    metadata,
    Column("id", String(32), primary_key=True, comment="Report id, made by the platform"),
    Column("model", String(32), nullable=False, comment="Model name"),
    Column("version", String(64), nullable=False, comment="Champion whose reference profile was compared with"),
    Column("data_source", Text, nullable=False, comment="Where the champion's data came from"),
    Column("window_name", String(64), nullable=False, comment="log, or partition:<key> when an analyst asked"),
    Column("since", DateTime(timezone=True), comment="UTC, time of the oldest row of the window"),
    Column("until", DateTime(timezone=True), comment="UTC, time of the newest row of the window"),
    Column("status", String(20), nullable=False, comment="stable, warning, drift or insufficient_data"),
    Column("reason", Text, nullable=False, comment="The verdict's reason, word for word"),
    Column("rows", Integer, nullable=False, comment="Rows of the window"),
    Column("groups", Integer, comment="Groups of dependent rows in the window"),
    Column("judged", Integer, nullable=False, comment="Features with enough data to judge"),
    Column("drifted", Integer, nullable=False, comment="Features that drifted"),
    Column("drifted_share", Float, nullable=False, comment="drifted / judged, 0 where none was judged"),
    Column("prediction_distance", Float, comment="KS distance of the scores from those at training"),
    Column("document", JSON, nullable=False, comment="Features, thresholds, previous window, live performance"),
    Column("report_key", Text, comment="HTML report in the object store; empty where none was rendered"),
    Column("run_id", String(64), nullable=False, comment="Dagster run, or the service that computed it"),
    Column("computed_at", DateTime(timezone=True), nullable=False, comment="UTC"),
    Index("ix_drift_reports_model_computed_at", "model", "computed_at"),
    comment="One row per drift check, on a window of the log or on a partition",
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", String(64), primary_key=True, comment="Hash of model, fingerprint and start: an alert's one firing"),
    Column("model", String(32), nullable=False, comment="Model that the alert is about"),
    Column("name", String(128), nullable=False, comment="Alert name, as labelled"),
    Column("summary", Text, nullable=False, comment="Summary annotation, shortened"),
    Column("request_id", String(32), nullable=False, comment="Training request that it made or joined"),
    Column("received_at", DateTime(timezone=True), nullable=False, comment="UTC"),
    comment="Alerts that asked for a training; one that is sent again finds itself here",
)

retrain_decisions = Table(
    "retrain_decisions",
    metadata,
    Column("id", String(32), primary_key=True, comment="Decision id, made by the platform"),
    Column("model", String(32), nullable=False, comment="Model name"),
    Column("source", String(16), nullable=False, comment="drift, alert, data, performance or api"),
    Column(
        "trigger_id", String(128), nullable=False, comment="What triggered: id of a report, a request, a data version"
    ),
    Column("action", String(16), nullable=False, comment="train, suggest or wait"),
    Column("rule", String(24), nullable=False, comment="Rule of the policy that decided"),
    Column("reason", Text, nullable=False, comment="The policy's reason, word for word"),
    Column("detail", JSON, nullable=False, comment="What the policy looked at"),
    Column("request_id", String(32), comment="Training request that it led to"),
    Column("decided_at", DateTime(timezone=True), nullable=False, comment="UTC"),
    UniqueConstraint("model", "source", "trigger_id", name="uq_retrain_decisions_model"),
    Index("ix_retrain_decisions_model_decided_at", "model", "decided_at"),
    comment="Every decision of the retrain policy, one per trigger",
)

notifications = Table(
    "notifications",
    metadata,
    Column("id", String(64), primary_key=True, comment="Kind and subject: told once"),
    Column("kind", String(24), nullable=False, comment="run_failure or suggestion"),
    Column("subject", String(128), nullable=False, comment="Run or decision that it is about"),
    Column("text", Text, nullable=False, comment="What a person is told"),
    Column("delivered", String(16), nullable=False, comment="sent, failed or recorded (no address is set)"),
    Column("created_at", DateTime(timezone=True), nullable=False, comment="UTC"),
    comment="What people were told, once each",
)
