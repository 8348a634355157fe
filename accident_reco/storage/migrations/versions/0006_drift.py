"""Drift reports, alerts, retrain decisions, notifications."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006_drift"
down_revision = "0005_inference"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column(
            "id",
            sa.String(length=64),
            nullable=False,
            comment="Hash of model, fingerprint and start: an alert's one firing",
        ),
        sa.Column("model", sa.String(length=32), nullable=False, comment="Model that the alert is about"),
        sa.Column("name", sa.String(length=128), nullable=False, comment="Alert name, as labelled"),
        sa.Column("summary", sa.Text(), nullable=False, comment="Summary annotation, shortened"),
        sa.Column(
            "request_id", sa.String(length=32), nullable=False, comment="Training request that it made or joined"
        ),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
        comment="Alerts that asked for a training; one that is sent again finds itself here",
    )
    op.create_table(
        "drift_reports",
        sa.Column("id", sa.String(length=32), nullable=False, comment="Report id, made by the platform"),
        sa.Column("model", sa.String(length=32), nullable=False, comment="Model name: accidents or movies"),
        sa.Column(
            "version",
            sa.String(length=64),
            nullable=False,
            comment="Champion whose reference profile was compared with",
        ),
        sa.Column("data_source", sa.Text(), nullable=False, comment="Where the champion's data came from"),
        sa.Column(
            "window_name", sa.String(length=64), nullable=False, comment="log, or partition:<key> when an analyst asked"
        ),
        sa.Column(
            "since", sa.DateTime(timezone=True), nullable=True, comment="UTC, time of the oldest row of the window"
        ),
        sa.Column(
            "until", sa.DateTime(timezone=True), nullable=True, comment="UTC, time of the newest row of the window"
        ),
        sa.Column(
            "status", sa.String(length=20), nullable=False, comment="stable, warning, drift or insufficient_data"
        ),
        sa.Column("reason", sa.Text(), nullable=False, comment="The verdict's reason, word for word"),
        sa.Column("rows", sa.Integer(), nullable=False, comment="Rows of the window"),
        sa.Column("groups", sa.Integer(), nullable=True, comment="Accidents or users of the window"),
        sa.Column("judged", sa.Integer(), nullable=False, comment="Features with enough data to judge"),
        sa.Column("drifted", sa.Integer(), nullable=False, comment="Features that drifted"),
        sa.Column("drifted_share", sa.Float(), nullable=False, comment="drifted / judged, 0 where none was judged"),
        sa.Column(
            "prediction_distance", sa.Float(), nullable=True, comment="KS distance of the scores from those at training"
        ),
        sa.Column(
            "document", sa.JSON(), nullable=False, comment="Features, thresholds, previous window, live performance"
        ),
        sa.Column(
            "report_key",
            sa.Text(),
            nullable=True,
            comment="HTML report in the object store; empty where none was rendered",
        ),
        sa.Column(
            "run_id", sa.String(length=64), nullable=False, comment="Dagster run, or the service that computed it"
        ),
        sa.Column("computed_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drift_reports")),
        comment="One row per drift check, on a window of the log or on a partition",
    )
    with op.batch_alter_table("drift_reports", schema=None) as batch_op:
        batch_op.create_index("ix_drift_reports_model_computed_at", ["model", "computed_at"], unique=False)

    op.create_table(
        "notifications",
        sa.Column("id", sa.String(length=64), nullable=False, comment="Kind and subject: told once"),
        sa.Column("kind", sa.String(length=24), nullable=False, comment="run_failure or suggestion"),
        sa.Column("subject", sa.String(length=128), nullable=False, comment="Run or decision that it is about"),
        sa.Column("text", sa.Text(), nullable=False, comment="What a person is told"),
        sa.Column(
            "delivered", sa.String(length=16), nullable=False, comment="sent, failed or recorded (no address is set)"
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
        comment="What people were told, once each",
    )
    op.create_table(
        "retrain_decisions",
        sa.Column("id", sa.String(length=32), nullable=False, comment="Decision id, made by the platform"),
        sa.Column("model", sa.String(length=32), nullable=False, comment="Model name"),
        sa.Column("source", sa.String(length=16), nullable=False, comment="drift, alert, data, performance or api"),
        sa.Column(
            "trigger_id",
            sa.String(length=128),
            nullable=False,
            comment="What triggered: id of a report, a request, a data version",
        ),
        sa.Column("action", sa.String(length=16), nullable=False, comment="train, suggest or wait"),
        sa.Column("rule", sa.String(length=24), nullable=False, comment="Rule of the policy that decided"),
        sa.Column("reason", sa.Text(), nullable=False, comment="The policy's reason, word for word"),
        sa.Column("detail", sa.JSON(), nullable=False, comment="What the policy looked at"),
        sa.Column("request_id", sa.String(length=32), nullable=True, comment="Training request that it led to"),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retrain_decisions")),
        sa.UniqueConstraint("model", "source", "trigger_id", name="uq_retrain_decisions_model"),
        comment="Every decision of the retrain policy, one per trigger",
    )
    with op.batch_alter_table("retrain_decisions", schema=None) as batch_op:
        batch_op.create_index("ix_retrain_decisions_model_decided_at", ["model", "decided_at"], unique=False)
