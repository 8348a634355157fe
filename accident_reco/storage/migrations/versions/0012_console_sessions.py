"""Sessions of people who have logged in to the console."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012_console_sessions"
down_revision = "0011_published_ids"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "console_sessions",
        sa.Column("id", sa.String(64), nullable=False, comment="SHA-256 of the cookie, which is 256 random bits"),
        sa.Column("user_name", sa.String(64), nullable=False, comment="Account that logged in"),
        sa.Column("scope", sa.String(128), nullable=False, comment="Scopes of its tokens, separated by spaces"),
        sa.Column(
            "sealed",
            sa.Text(),
            nullable=False,
            comment="Its tokens, encrypted with a key that only the cookie yields",
        ),
        sa.Column(
            "token_expires_at", sa.DateTime(timezone=True), nullable=False, comment="UTC; end of the access token"
        ),
        sa.Column(
            "refreshing_until", sa.DateTime(timezone=True), comment="UTC; a worker refreshes the tokens until then"
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="UTC; the login"),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=False, comment="UTC; latest request, to the minute"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_console_sessions")),
        comment="Sessions of the console, shared by its workers and replicas",
    )
    op.create_index(op.f("ix_console_sessions_used_at"), "console_sessions", ["used_at"])


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("console_sessions")
