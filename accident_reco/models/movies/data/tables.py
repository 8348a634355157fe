"""Tables of the movie model: catalogue, ratings, imports and their quarantine."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Float, Index, Integer, String, Table, Text, text

from accident_reco.storage.tables import metadata

movies = Table(
    "movies",
    metadata,
    Column("movie_id", Integer, primary_key=True, autoincrement=False, comment="MovieLens movie id"),
    Column("title", Text, nullable=False, comment="Title as published, year included"),
    Column("year", Integer, comment="Year at the end of the title; empty where it names none"),
    Column("genres", Text, nullable=False, comment="Genre names joined by |; empty where none is listed"),
    Column("load_id", Integer, nullable=False, comment="Import that brought this row (rating_loads)"),
    comment="Movie catalogue of the current source",
)

ratings = Table(
    "ratings",
    metadata,
    Column("user_id", Integer, primary_key=True, autoincrement=False, comment="User id"),
    Column("movie_id", Integer, primary_key=True, autoincrement=False, comment="Movie id"),
    Column("rating", Float, nullable=False, comment="Stars, 0.5 to 5 (whole stars in the older sets)"),
    Column("rated_at", BigInteger, nullable=False, comment="Seconds since 1970 UTC"),
    Column("simulated", Boolean, nullable=False, comment="Simulated by /generate-ratings; never in the holdout"),
    Column(
        "received_at", BigInteger, comment="Milliseconds since 1970 UTC when the API took it; empty for the source's"
    ),
    Column("load_id", Integer, comment="Import that brought this row (rating_loads); empty for what the API took"),
    Index(
        "ix_ratings_received_at",
        "received_at",
        sqlite_where=text("received_at IS NOT NULL"),
        postgresql_where=text("received_at IS NOT NULL"),
    ),
    comment="One rating per user and movie: of the source, or newer through the API",
    sqlite_with_rowid=False,
)

rating_staging = Table(
    "rating_staging",
    metadata,
    Column("load_id", Integer, primary_key=True, autoincrement=False, comment="Import (rating_loads)"),
    Column("user_id", Integer, primary_key=True, autoincrement=False, comment="User id"),
    Column("movie_id", Integer, primary_key=True, autoincrement=False, comment="Movie id"),
    Column("rating", Float, nullable=False, comment="Stars"),
    Column("rated_at", BigInteger, nullable=False, comment="Seconds since 1970 UTC"),
    comment="Ratings of an import that is not complete; empty otherwise",
    sqlite_with_rowid=False,
)

rating_loads = Table(
    "rating_loads",
    metadata,
    Column("load_id", Integer, primary_key=True, comment="Import number"),
    Column("data_source", String(32), nullable=False, comment="sample, official or directory"),
    Column("ratings_sha256", String(64), nullable=False, comment="Digest of the ratings file"),
    Column("movies_sha256", String(64), nullable=False, comment="Digest of the movies file"),
    Column("rows", BigInteger, comment="Ratings kept; empty until the import is complete"),
    Column("quarantined", BigInteger, comment="Rows refused; empty until the import is complete"),
    Column("started_at", DateTime(timezone=True), nullable=False, comment="UTC"),
    Column("finished_at", DateTime(timezone=True), comment="UTC; empty while it runs or when it was broken off"),
    comment="Imports of rating files: the same files are imported once",
)

rating_quarantine = Table(
    "rating_quarantine",
    metadata,
    Column("id", Integer, primary_key=True, comment="Row number"),
    Column("load_id", Integer, nullable=False, comment="Import that refused it (rating_loads)"),
    Column("file", Text, nullable=False, comment="File name as published"),
    Column("line", BigInteger, nullable=False, comment="Line in the file, the header being line 1"),
    Column("user_id", Text, nullable=False, comment="As read"),
    Column("movie_id", Text, nullable=False, comment="As read"),
    Column("rating", Text, nullable=False, comment="As read"),
    Column("rated_at", Text, nullable=False, comment="As read"),
    Column("rule", String(32), nullable=False, comment="Rule that it breaks"),
    Column("reason", Text, nullable=False, comment="Reason in words"),
    Index("ix_rating_quarantine_load_id", "load_id"),
    comment="Rating rows that were refused, with their reason",
)

published_ids = Table(
    "published_ids",
    metadata,
    Column("kind", String(8), primary_key=True, comment="user or movie"),
    Column("published", Text, primary_key=True, comment="Id as the files have it, which is no number"),
    Column("id", Integer, nullable=False, comment="Number in ratings and movies; never changes"),
    comment="Numbers of users and movies whose published ids are text",
)

TABLES = (movies, ratings, rating_staging, rating_loads, rating_quarantine, published_ids)
