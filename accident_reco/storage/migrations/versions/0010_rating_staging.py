"""Ratings of an import are staged, and replace those of older imports at once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010_rating_staging"
down_revision = "0009_comments"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rating_staging",
        sa.Column("load_id", sa.Integer(), autoincrement=False, nullable=False, comment="Import (rating_loads)"),
        sa.Column("user_id", sa.Integer(), autoincrement=False, nullable=False, comment="User id"),
        sa.Column("movie_id", sa.Integer(), autoincrement=False, nullable=False, comment="Movie id"),
        sa.Column("rating", sa.Float(), nullable=False, comment="Stars"),
        sa.Column("rated_at", sa.BigInteger(), nullable=False, comment="Seconds since 1970 UTC"),
        sa.PrimaryKeyConstraint("load_id", "user_id", "movie_id", name=op.f("pk_rating_staging")),
        comment="Ratings of an import that is not complete; empty otherwise",
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("rating_staging")
