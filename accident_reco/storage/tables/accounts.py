"""Tables of accounts: users, machines' keys, refresh tokens, failed logins, and the audit log."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, DateTime, ForeignKey, Index, Integer, String, Table, Text

from accident_reco.storage.tables import metadata

users = Table(
    "users",
    metadata,
    Column("name", String(64), primary_key=True, comment="Account name, lower case; never changes"),
    Column("password_hash", Text, nullable=False, comment="argon2id hash with its parameters and salt"),
    Column("role", String(16), nullable=False, comment="user or admin"),
    Column("disabled", Boolean, nullable=False, comment="Whether logins are refused"),
    Column("created_at", DateTime(timezone=True), nullable=False, comment="UTC"),
    Column("updated_at", DateTime(timezone=True), nullable=False, comment="UTC"),
    comment="Accounts of people",
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(16), primary_key=True, comment="Public part of the key"),
    Column("name", String(64), nullable=False, comment="What the key is for"),
    Column("secret_hash", String(64), nullable=False, comment="SHA-256 of the secret part, which is 256 random bits"),
    Column("scopes", JSON, nullable=False, comment="What the key may do"),
    Column("created_by", String(64), nullable=False, comment="Account that made it"),
    Column("created_at", DateTime(timezone=True), nullable=False, comment="UTC"),
    Column("expires_at", DateTime(timezone=True), comment="UTC; empty: does not expire"),
    Column("revoked_at", DateTime(timezone=True), comment="UTC; empty: not revoked"),
    comment="Keys of machines; the secret itself is shown once and kept nowhere",
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("hash", String(64), primary_key=True, comment="SHA-256 of the token"),
    Column("family", String(32), nullable=False, comment="All tokens that came from one login"),
    Column(
        "user_name",
        String(64),
        ForeignKey("users.name", ondelete="CASCADE"),
        nullable=False,
        comment="Account that logged in",
    ),
    Column("scope", String(128), nullable=False, comment="Scopes granted at login"),
    Column("issued_at", DateTime(timezone=True), nullable=False, comment="UTC"),
    Column("expires_at", DateTime(timezone=True), nullable=False, comment="UTC"),
    Column("used_at", DateTime(timezone=True), comment="UTC; a second use revokes the family"),
    Column("revoked_at", DateTime(timezone=True), comment="UTC"),
    Index("ix_refresh_tokens_family", "family"),
    Index("ix_refresh_tokens_user_name", "user_name"),
    comment="Rotating refresh tokens",
)

login_failures = Table(
    "login_failures",
    metadata,
    Column("key", String(80), primary_key=True, comment="account:<hash of the name> or address:<client address>"),
    Column("failures", Integer, nullable=False, comment="Failed logins since the last good one"),
    Column("blocked_until", DateTime(timezone=True), comment="UTC; no login before"),
    Column("updated_at", DateTime(timezone=True), nullable=False, comment="UTC"),
    comment="Back-off of failed logins, shared by all workers",
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True, comment="Order of writing"),
    Column("at", DateTime(timezone=True), nullable=False, comment="UTC"),
    Column("actor", String(64), nullable=False, comment="Who did it: account, key:<id>, or system"),
    Column("action", String(48), nullable=False, comment="What: login, user.create, key.revoke …"),
    Column("target", String(80), comment="To whom or what"),
    Column("outcome", String(16), nullable=False, comment="ok or refused"),
    Column("address", String(64), comment="Client address"),
    Column("request_id", String(64), comment="Request that did it"),
    Column("detail", JSON, nullable=False, comment="What changed; never a secret"),
    Index("ix_audit_log_at", "at"),
    comment="Append-only: the database itself refuses to change or delete a row",
)
