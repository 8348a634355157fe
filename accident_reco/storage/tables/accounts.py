"""Tables of accounts: users, API keys, refresh tokens, failed logins, audit log."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, DateTime, ForeignKey, Index, Integer, String, Table, Text

from accident_reco.storage.tables import metadata

users = Table(
    "users",
    metadata,
    Column("name", String(64), primary_key=True, comment="Account name, lower case; never changes"),
    Column("password_hash", Text, nullable=False, comment="argon2id hash with its parameters and salt"),
    Column("role", String(16), nullable=False, comment="user or admin"),
    Column("disabled", Boolean, nullable=False, comment="Whether logins are rejected"),
    Column("created_at", DateTime(timezone=True), nullable=False, comment="UTC"),
    Column("updated_at", DateTime(timezone=True), nullable=False, comment="UTC"),
    comment="User accounts",
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(16), primary_key=True, comment="Public part of the key"),
    Column("name", String(64), nullable=False, comment="Purpose of the key"),
    Column("secret_hash", String(64), nullable=False, comment="SHA-256 of the secret part, which is 256 random bits"),
    Column("scopes", JSON, nullable=False, comment="Scopes granted to the key"),
    Column("created_by", String(64), nullable=False, comment="Account that created it"),
    Column("created_at", DateTime(timezone=True), nullable=False, comment="UTC"),
    Column("expires_at", DateTime(timezone=True), comment="UTC; empty: does not expire"),
    Column("revoked_at", DateTime(timezone=True), comment="UTC; empty: not revoked"),
    comment="API keys; the secret is shown once and not stored",
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("hash", String(64), primary_key=True, comment="SHA-256 of the token"),
    Column("family", String(32), nullable=False, comment="Login that the token descends from"),
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

token_revocations = Table(
    "token_revocations",
    metadata,
    Column("subject", String(64), primary_key=True, comment="Account, also one that is removed"),
    Column(
        "revoked_at",
        DateTime(timezone=True),
        nullable=False,
        comment="UTC; services reject its access tokens issued until then",
    ),
    comment="Accounts that lost rights or changed their password; rows are kept as long as a token may be valid",
)

login_failures = Table(
    "login_failures",
    metadata,
    Column("key", String(80), primary_key=True, comment="account:<hash of the name> or address:<client address>"),
    Column("failures", Integer, nullable=False, comment="Failed logins since the last successful one"),
    Column("blocked_until", DateTime(timezone=True), comment="UTC; no login before"),
    Column("updated_at", DateTime(timezone=True), nullable=False, comment="UTC"),
    comment="Back-off after failed logins, shared by all workers",
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True, comment="Sequence number"),
    Column("at", DateTime(timezone=True), nullable=False, comment="UTC"),
    Column("actor", String(64), nullable=False, comment="Account, key:<id>, or system"),
    Column("action", String(48), nullable=False, comment="Action: login, user.create, key.revoke …"),
    Column("target", String(80), comment="Affected account, key or model"),
    Column("outcome", String(16), nullable=False, comment="ok or refused"),
    Column("address", String(64), comment="Client address"),
    Column("request_id", String(64), comment="Request id"),
    Column("detail", JSON, nullable=False, comment="Changed values; never a secret"),
    Index("ix_audit_log_at", "at"),
    comment="Append-only audit log: a trigger rejects updates and deletions",
)
