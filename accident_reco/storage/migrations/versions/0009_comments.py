"""Comments of tables and columns as the code has them now. SQLite keeps no comments."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from accident_reco.storage.tables import all_tables

revision = "0009_comments"
down_revision = "0008_feedback"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Set every comment that differs. Tables and columns of later revisions are created with theirs."""
    connection = op.get_bind()
    if not connection.dialect.supports_comments:
        return
    inspector = sa.inspect(connection)
    existing = set(inspector.get_table_names())
    for table in all_tables().sorted_tables:
        if table.name not in existing:
            continue
        if table.comment != inspector.get_table_comment(table.name)["text"]:
            connection.execute(sa.schema.SetTableComment(table))
        comments = {column["name"]: column["comment"] for column in inspector.get_columns(table.name)}
        for column in table.columns:
            if column.name in comments and column.comment != comments[column.name]:
                connection.execute(sa.schema.SetColumnComment(column))


def downgrade() -> None:
    """Nothing: the previous release does not read comments."""
