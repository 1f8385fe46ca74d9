"""Servers that a registry of MCP servers has."""

from sqlalchemy import Column, PrimaryKeyConstraint, UniqueConstraint

from storage.sql.migrations.steps import LONG_TEXT, create_table, drop_table, moment, string

revision = "0053"
down_revision = "0052"
TABLE = "known_servers"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        string("name"),
        string("slug", 100),
        Column("server", LONG_TEXT, nullable=False),
        moment("changed_at"),
        PrimaryKeyConstraint("name", name="pk_known_servers"),
        UniqueConstraint("slug", name="uq_known_servers_slug"),
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
