"""The only door to stored things: object store (fsspec) and warehouse (SQLAlchemy, Alembic)."""
