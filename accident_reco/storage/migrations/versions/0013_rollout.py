"""Predictions that champion and challenger computed on the same inputs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013_rollout"
down_revision = "0012_console_sessions"
branch_labels = None
depends_on = None

ACTIONS = "promote, refuse, rollback, or rollout_ with start, advance, promote, back, abort, replace or end"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "rollout_calls",
        sa.Column("id", sa.String(40), nullable=False, comment="Prediction id of the response"),
        sa.Column("model", sa.String(32), nullable=False, comment="Model name"),
        sa.Column("champion", sa.String(64), nullable=False, comment="Version that served when the rollout began"),
        sa.Column("challenger", sa.String(64), nullable=False, comment="Version in the rollout"),
        sa.Column("answered_by", sa.String(64), nullable=False, comment="The version whose result was the response"),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.Column(
            "group_key",
            sa.String(80),
            comment="Group of dependent rows; empty for an independent row",
        ),
        sa.Column("champion_score", sa.Float(), comment="Probability or value; empty for a ranking"),
        sa.Column("challenger_score", sa.Float(), comment="Probability or value; empty for a ranking"),
        sa.Column("agreement", sa.Float(), comment="1 for the same class, else 0; share of common items for a ranking"),
        sa.Column(
            "champion_ms",
            sa.Float(),
            comment="Time of the model alone, in milliseconds; where both were timed alike",
        ),
        sa.Column("challenger_ms", sa.Float(), comment="As champion_ms"),
        sa.Column(
            "problem",
            sa.String(16),
            comment="failed, not_finite (challenger) or champion_failed; empty for a comparison",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_rollout_calls"),
        comment="Predictions of a rollout, computed by champion and challenger on the same inputs",
    )
    op.create_index("ix_rollout_calls_challenger_at", "rollout_calls", ["model", "challenger", "at"])
    if op.get_bind().dialect.supports_comments:
        op.alter_column("promotions", "action", existing_type=sa.String(16), comment=ACTIONS)


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("rollout_calls")
