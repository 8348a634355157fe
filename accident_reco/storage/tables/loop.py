"""Tables of the closed loop: drift reports, alerts, retrain decisions, notifications."""

from __future__ import annotations

from sqlalchemy import JSON, Column, DateTime, Float, Index, Integer, String, Table, Text, UniqueConstraint

from accident_reco.storage.tables import metadata

drift_reports = Table(
    "drift_reports",
    metadata,
    Column("id", String(32), primary_key=True, comment="Report id, generated"),
    Column("model", String(32), nullable=False, comment="Model name"),
    Column("version", String(64), nullable=False, comment="Champion whose reference profile is compared with"),
    Column("data_source", Text, nullable=False, comment="Source of the champion's training data"),
    Column(
        "window_name",
        String(64),
        nullable=False,
        comment="log (scheduled), now (requested through the API), or a name of its own, such as a partition",
    ),
    Column("since", DateTime(timezone=True), comment="UTC, time of the oldest row of the window"),
    Column("until", DateTime(timezone=True), comment="UTC, time of the newest row of the window"),
    Column("status", String(20), nullable=False, comment="stable, warning, drift or insufficient_data"),
    Column("reason", Text, nullable=False, comment="Reason of the verdict"),
    Column("rows", Integer, nullable=False, comment="Rows of the window"),
    Column("groups", Integer, comment="Groups of dependent rows in the window"),
    Column("judged", Integer, nullable=False, comment="Features with enough data for a verdict"),
    Column("drifted", Integer, nullable=False, comment="Features that drifted"),
    Column("drifted_share", Float, nullable=False, comment="drifted / judged; 0 where judged is 0"),
    Column("prediction_distance", Float, comment="KS distance between the scores and those at training"),
    Column("document", JSON, nullable=False, comment="Features, thresholds, previous window, live performance"),
    Column("report_key", Text, comment="HTML report in the object store; empty where none was rendered"),
    Column("run_id", String(64), nullable=False, comment="Dagster run, or the service that computed it"),
    Column("computed_at", DateTime(timezone=True), nullable=False, comment="UTC"),
    Index("ix_drift_reports_model_computed_at", "model", "computed_at"),
    comment="Drift checks, on a window of the prediction log or on a partition",
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", String(64), primary_key=True, comment="Hash of model, fingerprint and start time"),
    Column("model", String(32), nullable=False, comment="Model that the alert is about"),
    Column("name", String(128), nullable=False, comment="Label `alertname`"),
    Column("summary", Text, nullable=False, comment="Annotation `summary`, shortened"),
    Column("request_id", String(32), nullable=False, comment="Training request that the alert created or joined"),
    Column("received_at", DateTime(timezone=True), nullable=False, comment="UTC"),
    comment="Alerts that requested a training, one row per firing, for deduplication",
)

retrain_decisions = Table(
    "retrain_decisions",
    metadata,
    Column("id", String(32), primary_key=True, comment="Decision id, generated"),
    Column("model", String(32), nullable=False, comment="Model name"),
    Column("source", String(16), nullable=False, comment="drift, alert, data, performance or api"),
    Column(
        "trigger_id", String(128), nullable=False, comment="Trigger: id of a report, of a request or of a data version"
    ),
    Column("action", String(16), nullable=False, comment="train, suggest or wait"),
    Column("rule", String(24), nullable=False, comment="Rule of the policy that decided"),
    Column("reason", Text, nullable=False, comment="Reason of the decision"),
    Column("detail", JSON, nullable=False, comment="Inputs of the policy"),
    Column("request_id", String(32), comment="Training request that was created"),
    Column("decided_at", DateTime(timezone=True), nullable=False, comment="UTC"),
    UniqueConstraint("model", "source", "trigger_id", name="uq_retrain_decisions_model"),
    Index("ix_retrain_decisions_model_decided_at", "model", "decided_at"),
    comment="Decisions of the retrain policy, one per trigger",
)

notifications = Table(
    "notifications",
    metadata,
    Column("id", String(64), primary_key=True, comment="Kind and subject, so that it is sent once"),
    Column("kind", String(24), nullable=False, comment="run_failure or suggestion"),
    Column("subject", String(128), nullable=False, comment="Run or decision of the notification"),
    Column("text", Text, nullable=False, comment="Message"),
    Column("delivered", String(16), nullable=False, comment="sent, failed or recorded (no webhook is configured)"),
    Column("created_at", DateTime(timezone=True), nullable=False, comment="UTC"),
    comment="Notifications, one per kind and subject",
)
