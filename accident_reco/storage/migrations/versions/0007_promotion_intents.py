"""Moves of the pointer, written before they happen."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007_promotion_intents"
down_revision = "0006_drift"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "promotion_intents",
        sa.Column(
            "id",
            sa.String(length=32),
            nullable=False,
            comment="Hash of model, seen_tag and pointer; id of the audit row too",
        ),
        sa.Column("model", sa.String(length=32), nullable=False, comment="Model name: accidents or movies"),
        sa.Column("action", sa.String(length=16), nullable=False, comment="promote or rollback"),
        sa.Column("version", sa.String(length=64), nullable=False, comment="Version that shall serve"),
        sa.Column("previous", sa.String(length=64), nullable=True, comment="Version that served when it was decided"),
        sa.Column(
            "seen_tag",
            sa.String(length=128),
            nullable=True,
            comment="Tag of the pointer that it was decided against; empty where there was none",
        ),
        sa.Column("pointer", sa.JSON(), nullable=False, comment="The exact document that the pointer shall hold"),
        sa.Column("decision", sa.JSON(), nullable=False, comment="Reason and detail for the audit"),
        sa.Column(
            "requested_by", sa.String(length=128), nullable=False, comment="Account or component that requested it"
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.Column(
            "completed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="UTC, time of the audit row; empty while it is open",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promotion_intents")),
        comment="Moves of a pointer, written before it moves, so that any process can complete and audit them",
    )
    with op.batch_alter_table("promotion_intents", schema=None) as batch_op:
        batch_op.create_index("ix_promotion_intents_model_completed_at", ["model", "completed_at"], unique=False)
