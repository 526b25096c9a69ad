"""The tables, for SQLite and PostgreSQL alike. Every change here needs a migration in `migrations/versions`."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

media = sa.Table(
    "media",
    metadata,
    sa.Column("id", sa.String(19), primary_key=True),
    sa.Column("account", sa.String(64), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("key", sa.String(200), nullable=False),
    sa.Column("suffix", sa.String(8), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("duration_ms", sa.BigInteger, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Index("media_expiry", "kind", "expires_at"),
    sa.Index("media_key", "key"),
)
sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", sa.String(19), primary_key=True),
    sa.Column("account", sa.String(64), nullable=False),
    sa.Column("source_id", sa.String(19), nullable=False, index=True),
    sa.Column("faces", sa.JSON, nullable=False),
    sa.Column("rejected", sa.JSON, nullable=False, server_default="[]"),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
)
tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("id", sa.String(19), primary_key=True),
    sa.Column("account", sa.String(64), nullable=False),
    sa.Column("external_id", sa.String(256)),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("session_id", sa.String(19), nullable=False, index=True),
    sa.Column("source_id", sa.String(19), nullable=False, index=True),
    sa.Column("source_suffix", sa.String(8), nullable=False),
    sa.Column("source_duration_ms", sa.BigInteger, nullable=False),
    sa.Column("choices", sa.JSON, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("progress", sa.Float, nullable=False),
    sa.Column("stage", sa.String(64), nullable=False),
    sa.Column("not_before", sa.BigInteger, nullable=False),
    sa.Column("result_id", sa.String(19), nullable=False),
    sa.Column("result_duration_ms", sa.BigInteger, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Column("sync_mode", sa.String(16), nullable=False, server_default=""),
    sa.Column("watermark", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("watermark_id", sa.String(19), nullable=False, server_default=""),
    sa.Column("callback_url", sa.Text, nullable=False, server_default=""),
    sa.Column("files_url", sa.Text, nullable=False, server_default=""),
    sa.Column("began_at", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("queue", sa.String(16), nullable=False, server_default="render"),
    sa.Column("turn", sa.Float(53), nullable=False, server_default="0"),
    sa.Column("beat", sa.Integer, nullable=False, server_default="0"),
    sa.Column("fault", sa.String(16), nullable=False, server_default=""),
    sa.Column("request_id", sa.String(36), nullable=False, server_default=""),
    sa.Column("trace", sa.String(64), nullable=False, server_default=""),
    sa.UniqueConstraint("account", "external_id"),
    sa.Index("tasks_queue", "queue", "status", "turn", "id"),
    sa.Index("tasks_turn", "queue", "turn"),
    sa.Index("tasks_account", "account", "status", "queue"),
    sa.Index("tasks_list", "account", "created_at"),
    sa.Index("tasks_expiry", "expires_at"),
)
attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("task_id", sa.String(19), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("worker", sa.String(80), nullable=False),
    sa.Column("began_at", sa.BigInteger, nullable=False),
    sa.Column("ended_at", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("outcome", sa.String(16), nullable=False, server_default=""),
    sa.Column("reason", sa.Text, nullable=False, server_default=""),
)
accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("callback_secret", sa.String(80), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False, server_default="1"),
)
keys = sa.Table(
    "keys",
    metadata,
    sa.Column("id", sa.String(19), primary_key=True),
    sa.Column("account", sa.String(64), nullable=False, index=True),
    sa.Column("kind", sa.String(8), nullable=False),
    sa.Column("public", sa.String(64), nullable=False, unique=True),
    sa.Column("secret", sa.String(80), nullable=False),
    sa.Column("hint", sa.String(32), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("revoked_at", sa.BigInteger, nullable=False),
)
callbacks = sa.Table(
    "callbacks",
    metadata,
    sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(19), nullable=False, unique=True),
    sa.Column("task_id", sa.String(19), nullable=False, index=True),
    sa.Column("task", sa.JSON, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("not_before", sa.BigInteger, nullable=False, index=True),
)
secrets = sa.Table(
    "secrets",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
