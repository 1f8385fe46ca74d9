"""Connections to repositories."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKeyConstraint,
    PrimaryKeyConstraint,
    Text,
    UniqueConstraint,
)

from storage.sql.migrations.steps import LONG_TEXT, create_table, drop_table, identifier, moment, string

revision = "0050"
down_revision = "0049"
TABLE = "connections"
INDEXED = ("owner_id", "repository_key", "tool_id", "created_at")


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        identifier("id"),
        identifier("owner_id"),
        string("repository_url", 1024),
        string("api_url", 1024),
        string("full_name"),
        Column("repository_id", BigInteger(), nullable=True),
        string("repository_key"),
        identifier("tool_id", nullable=True),
        string("branch"),
        string("path", 1024),
        string("slot", 64, nullable=True),
        Column("deploy", Boolean(), nullable=False),
        string("state", 32),
        Column("reason", Text(), nullable=True),
        string("credential", 32),
        Column("installation_id", BigInteger(), nullable=True),
        Column("sealed_token", LONG_TEXT, nullable=True),
        Column("sealed_webhook_secret", LONG_TEXT, nullable=True),
        string("webhook", 32),
        Column("webhook_id", BigInteger(), nullable=True),
        Column("webhook_reason", Text(), nullable=True),
        string("synced_commit", 64, nullable=True),
        moment("synced_at", nullable=True),
        string("head_commit", 64, nullable=True),
        string("drift", 32),
        moment("created_at"),
        moment("updated_at"),
        PrimaryKeyConstraint("id", name="pk_connections"),
        UniqueConstraint("slot", name="uq_connections_slot"),
        ForeignKeyConstraint(["tool_id"], ["mcps.id"], name="fk_connections_tool_id", ondelete="SET NULL"),
        indexes={f"ix_connections_{name}": [name] for name in INDEXED},
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
