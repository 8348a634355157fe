"""Feedback without a model's words: the label as reported and as a number; accident columns may be empty."""

import sqlalchemy as sa
from alembic import op

revision = "0008_feedback"
down_revision = "0007_promotion_intents"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns, relax old ones, fill the new ones in."""
    with op.batch_alter_table("feedback") as table:
        table.add_column(sa.Column("label", sa.JSON(), comment="The label as it was reported, by field"))
        table.add_column(
            sa.Column(
                "outcome",
                sa.Float(),
                comment="The label as a number that scores are compared with: 0 or 1, or a value",
            )
        )
        table.alter_column(
            "severity",
            existing_type=sa.Integer(),
            nullable=True,
            comment="Official grav code of an accident prediction, for readers of older versions",
        )
        table.alter_column(
            "grave",
            existing_type=sa.Boolean(),
            nullable=True,
            comment="Whether it was killed or hospitalised, for readers of older versions",
        )
    feedback = sa.table(
        "feedback",
        sa.column("severity", sa.Integer()),
        sa.column("grave", sa.Boolean()),
        sa.column("label", sa.JSON()),
        sa.column("outcome", sa.Float()),
    )
    for severity in (1, 2, 3, 4):
        op.execute(
            feedback.update()
            .where(feedback.c.severity == severity, feedback.c.label.is_(None))
            .values(label={"severity": severity}, outcome=1.0 if severity in (2, 3) else 0.0)
        )


def downgrade() -> None:
    """Take the new columns off; labels of other models than the accidents' cannot stay."""
    op.execute(sa.text("DELETE FROM feedback WHERE severity IS NULL"))
    with op.batch_alter_table("feedback") as table:
        table.drop_column("outcome")
        table.drop_column("label")
        table.alter_column("severity", existing_type=sa.Integer(), nullable=False)
        table.alter_column("grave", existing_type=sa.Boolean(), nullable=False)
