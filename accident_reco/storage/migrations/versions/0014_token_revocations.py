"""Accounts whose access tokens were revoked before they expire."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014_token_revocations"
down_revision = "0013_rollout"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "token_revocations",
        sa.Column("subject", sa.String(64), nullable=False, comment="Account, also one that is removed"),
        sa.Column(
            "revoked_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="UTC; services reject its access tokens issued until then",
        ),
        sa.PrimaryKeyConstraint("subject"),
        comment="Accounts that lost rights or changed their password; rows are kept as long as a token may be valid",
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("token_revocations")
