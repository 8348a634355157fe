"""Prediction log and feedback."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005_inference"
down_revision = "0004_accounts"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "feedback",
        sa.Column("prediction_id", sa.String(length=40), nullable=False, comment="Prediction that the label is about"),
        sa.Column("model", sa.String(length=32), nullable=False, comment="Model name"),
        sa.Column(
            "severity", sa.Integer(), nullable=False, comment="Official grav code that turned out true: 1, 2, 3 or 4"
        ),
        sa.Column("grave", sa.Boolean(), nullable=False, comment="Whether it was killed or hospitalised (grav 2 or 3)"),
        sa.Column(
            "user_name", sa.String(length=80), nullable=True, comment="Account or key that said so; empty after erasure"
        ),
        sa.Column("predicted_at", sa.DateTime(timezone=True), nullable=False, comment="UTC, of the prediction"),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, comment="UTC, of the label"),
        sa.PrimaryKeyConstraint("prediction_id", name=op.f("pk_feedback")),
        comment="Labels that came back, at most one per prediction",
    )
    with op.batch_alter_table("feedback", schema=None) as batch_op:
        batch_op.create_index("ix_feedback_model_at", ["model", "at"], unique=False)

    op.create_table(
        "predictions",
        sa.Column(
            "id",
            sa.String(length=40),
            nullable=False,
            comment="Prediction id that the caller got; for an error made here",
        ),
        sa.Column(
            "request_id",
            sa.String(length=64),
            nullable=False,
            comment="Request that asked; one request may ask many times",
        ),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.Column("model", sa.String(length=32), nullable=False, comment="Model name: accidents or movies"),
        sa.Column(
            "version", sa.String(length=64), nullable=True, comment="Version that answered; empty when none could"
        ),
        sa.Column(
            "user_name", sa.String(length=80), nullable=True, comment="Account or key that asked; empty after erasure"
        ),
        sa.Column("source", sa.String(length=16), nullable=False, comment="json, csv or v2: how it was asked"),
        sa.Column("status", sa.Integer(), nullable=False, comment="HTTP status of the answer"),
        sa.Column("score", sa.Float(), nullable=True, comment="Probability (accidents)"),
        sa.Column("answer", sa.JSON(), nullable=True, comment="Class (accidents) or items (movies)"),
        sa.Column("latency_ms", sa.Float(), nullable=False, comment="Time to answer the whole request"),
        sa.Column(
            "inputs",
            sa.JSON(),
            nullable=False,
            comment="Raw inputs as they came: BAAC codes, ids; never engineered features",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_predictions")),
        comment="One row per road user or user answered, and one per refused request",
    )
    with op.batch_alter_table("predictions", schema=None) as batch_op:
        batch_op.create_index("ix_predictions_model_at", ["model", "at"], unique=False)
        batch_op.create_index("ix_predictions_user_name", ["user_name"], unique=False)
