"""Table of the console: sessions of people who have logged in."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, Index, String, Table, Text

from accident_reco.storage.tables import metadata

console_sessions = Table(
    "console_sessions",
    metadata,
    Column("id", String(64), primary_key=True, comment="SHA-256 of the cookie, which is 256 random bits"),
    Column("user_name", String(64), nullable=False, comment="Account that logged in"),
    Column("scope", String(128), nullable=False, comment="Scopes of its tokens, separated by spaces"),
    Column("sealed", Text, nullable=False, comment="Its tokens, encrypted with a key that only the cookie yields"),
    Column("token_expires_at", DateTime(timezone=True), nullable=False, comment="UTC; end of the access token"),
    Column("refreshing_until", DateTime(timezone=True), comment="UTC; a worker refreshes the tokens until then"),
    Column("created_at", DateTime(timezone=True), nullable=False, comment="UTC; the login"),
    Column("used_at", DateTime(timezone=True), nullable=False, comment="UTC; latest request, to the minute"),
    Index("ix_console_sessions_used_at", "used_at"),
    comment="Sessions of the console, shared by its workers and replicas",
)
