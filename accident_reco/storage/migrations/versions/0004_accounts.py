"""Accounts, keys, refresh tokens, login failures, audit log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004_accounts"
down_revision = "0003_movies"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=16), nullable=False, comment="Public part of the key"),
        sa.Column("name", sa.String(length=64), nullable=False, comment="What the key is for"),
        sa.Column(
            "secret_hash",
            sa.String(length=64),
            nullable=False,
            comment="SHA-256 of the secret part, which is 256 random bits",
        ),
        sa.Column("scopes", sa.JSON(), nullable=False, comment="What the key may do"),
        sa.Column("created_by", sa.String(length=64), nullable=False, comment="Account that made it"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True, comment="UTC; empty: does not expire"),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True, comment="UTC; empty: not revoked"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        comment="Keys of machines; the secret itself is shown once and kept nowhere",
    )
    op.create_table(
        "audit_log",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False, comment="Order of writing"),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.Column("actor", sa.String(length=64), nullable=False, comment="Who did it: account, key:<id>, or system"),
        sa.Column("action", sa.String(length=48), nullable=False, comment="What: login, user.create, key.revoke …"),
        sa.Column("target", sa.String(length=80), nullable=True, comment="To whom or what"),
        sa.Column("outcome", sa.String(length=16), nullable=False, comment="ok or refused"),
        sa.Column("address", sa.String(length=64), nullable=True, comment="Client address"),
        sa.Column("request_id", sa.String(length=64), nullable=True, comment="Request that did it"),
        sa.Column("detail", sa.JSON(), nullable=False, comment="What changed; never a secret"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
        comment="Append-only: the database itself refuses to change or delete a row",
    )
    with op.batch_alter_table("audit_log", schema=None) as batch_op:
        batch_op.create_index("ix_audit_log_at", ["at"], unique=False)

    op.create_table(
        "login_failures",
        sa.Column(
            "key",
            sa.String(length=80),
            nullable=False,
            comment="account:<hash of the name> or address:<client address>",
        ),
        sa.Column("failures", sa.Integer(), nullable=False, comment="Failed logins since the last good one"),
        sa.Column("blocked_until", sa.DateTime(timezone=True), nullable=True, comment="UTC; no login before"),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_login_failures")),
        comment="Back-off of failed logins, shared by all workers",
    )
    op.create_table(
        "users",
        sa.Column("name", sa.String(length=64), nullable=False, comment="Account name, lower case; never changes"),
        sa.Column("password_hash", sa.Text(), nullable=False, comment="argon2id hash with its parameters and salt"),
        sa.Column("role", sa.String(length=16), nullable=False, comment="user or admin"),
        sa.Column("disabled", sa.Boolean(), nullable=False, comment="Whether logins are refused"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_users")),
        comment="Accounts of people",
    )
    op.create_table(
        "refresh_tokens",
        sa.Column("hash", sa.String(length=64), nullable=False, comment="SHA-256 of the token"),
        sa.Column("family", sa.String(length=32), nullable=False, comment="All tokens that came from one login"),
        sa.Column("user_name", sa.String(length=64), nullable=False, comment="Account that logged in"),
        sa.Column("scope", sa.String(length=128), nullable=False, comment="Scopes granted at login"),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True, comment="UTC; a second use revokes the family"),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True, comment="UTC"),
        sa.ForeignKeyConstraint(
            ["user_name"], ["users.name"], name=op.f("fk_refresh_tokens_user_name_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_refresh_tokens")),
        comment="Rotating refresh tokens",
    )
    with op.batch_alter_table("refresh_tokens", schema=None) as batch_op:
        batch_op.create_index("ix_refresh_tokens_family", ["family"], unique=False)
        batch_op.create_index("ix_refresh_tokens_user_name", ["user_name"], unique=False)
    _make_audit_log_append_only()


def _make_audit_log_append_only() -> None:
    """No code path of ours, and no stray statement, rewrites what happened."""
    if op.get_bind().dialect.name == "sqlite":
        for event in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER audit_log_no_{event.lower()} BEFORE {event} ON audit_log "
                "BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION audit_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'audit_log is append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_log_is_append_only()"
    )
