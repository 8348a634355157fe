"""Movies and ratings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003_movies"
down_revision = "0002_accidents"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "movies",
        sa.Column("movie_id", sa.Integer(), autoincrement=False, nullable=False, comment="MovieLens movie id"),
        sa.Column("title", sa.Text(), nullable=False, comment="Title as published, year included"),
        sa.Column(
            "year", sa.Integer(), nullable=True, comment="Year at the end of the title; empty where it names none"
        ),
        sa.Column("genres", sa.Text(), nullable=False, comment="Genre names joined by |; empty where none is listed"),
        sa.Column("load_id", sa.Integer(), nullable=False, comment="Import that brought this row (rating_loads)"),
        sa.PrimaryKeyConstraint("movie_id", name=op.f("pk_movies")),
        comment="Movie catalogue of the current source",
    )
    op.create_table(
        "rating_loads",
        sa.Column("load_id", sa.Integer(), nullable=False, comment="Import number"),
        sa.Column("data_source", sa.String(length=32), nullable=False, comment="sample, official or directory"),
        sa.Column("ratings_sha256", sa.String(length=64), nullable=False, comment="Digest of the ratings file"),
        sa.Column("movies_sha256", sa.String(length=64), nullable=False, comment="Digest of the movies file"),
        sa.Column("rows", sa.BigInteger(), nullable=True, comment="Ratings kept; empty until the import is complete"),
        sa.Column(
            "quarantined", sa.BigInteger(), nullable=True, comment="Rows refused; empty until the import is complete"
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.Column(
            "finished_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="UTC; empty while it runs or when it was broken off",
        ),
        sa.PrimaryKeyConstraint("load_id", name=op.f("pk_rating_loads")),
        comment="Imports of rating files: the same files are imported once",
    )
    op.create_table(
        "rating_quarantine",
        sa.Column("id", sa.Integer(), nullable=False, comment="Row number"),
        sa.Column("load_id", sa.Integer(), nullable=False, comment="Import that refused it (rating_loads)"),
        sa.Column("file", sa.Text(), nullable=False, comment="File name as published"),
        sa.Column("line", sa.BigInteger(), nullable=False, comment="Line in the file, the header being line 1"),
        sa.Column("user_id", sa.Text(), nullable=False, comment="As read"),
        sa.Column("movie_id", sa.Text(), nullable=False, comment="As read"),
        sa.Column("rating", sa.Text(), nullable=False, comment="As read"),
        sa.Column("rated_at", sa.Text(), nullable=False, comment="As read"),
        sa.Column("rule", sa.String(length=32), nullable=False, comment="Rule that it breaks"),
        sa.Column("reason", sa.Text(), nullable=False, comment="Reason in words"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rating_quarantine")),
        comment="Rating rows that were refused, with their reason",
    )
    op.create_index("ix_rating_quarantine_load_id", "rating_quarantine", ["load_id"], unique=False)

    op.create_table(
        "ratings",
        sa.Column("user_id", sa.Integer(), autoincrement=False, nullable=False, comment="User id"),
        sa.Column("movie_id", sa.Integer(), autoincrement=False, nullable=False, comment="Movie id"),
        sa.Column("rating", sa.Float(), nullable=False, comment="Stars, 0.5 to 5 (whole stars in the older sets)"),
        sa.Column("rated_at", sa.BigInteger(), nullable=False, comment="Seconds since 1970 UTC"),
        sa.Column(
            "simulated", sa.Boolean(), nullable=False, comment="Made up by /generate-ratings; never in the holdout"
        ),
        sa.Column(
            "received_at",
            sa.BigInteger(),
            nullable=True,
            comment="Milliseconds since 1970 UTC when the API took it; empty for the source's",
        ),
        sa.Column(
            "load_id",
            sa.Integer(),
            nullable=True,
            comment="Import that brought this row (rating_loads); empty for what the API took",
        ),
        sa.PrimaryKeyConstraint("user_id", "movie_id", name=op.f("pk_ratings")),
        comment="One rating per user and movie: of the source, or newer through the API",
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_ratings_received_at",
        "ratings",
        ["received_at"],
        unique=False,
        sqlite_where=sa.text("received_at IS NOT NULL"),
        postgresql_where=sa.text("received_at IS NOT NULL"),
    )
