"""Numbers of users and movies whose published ids are text."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011_published_ids"
down_revision = "0010_rating_staging"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "published_ids",
        sa.Column("kind", sa.String(8), nullable=False, comment="user or movie"),
        sa.Column("published", sa.Text(), nullable=False, comment="Id as the files have it, which is no number"),
        sa.Column(
            "id",
            sa.Integer(),
            nullable=False,
            comment="Number in ratings and movies; never changes",
        ),
        sa.PrimaryKeyConstraint("kind", "published"),
        comment="Numbers of users and movies whose published ids are text",
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("published_ids")
