"""Definitions of tools as somebody found them good."""

from sqlalchemy import Column, ForeignKeyConstraint, PrimaryKeyConstraint

from storage.sql.migrations.steps import LONG_TEXT, create_table, drop_table, identifier, moment, string

revision = "0037"
down_revision = "0036"
TABLE = "tool_pins"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        identifier("mcp_id"),
        string("tool"),
        string("digest", 64),
        Column("definition", LONG_TEXT, nullable=False),
        identifier("pinned_by"),
        moment("pinned_at"),
        string("changed_digest", 64, nullable=True),
        Column("changed_definition", LONG_TEXT, nullable=True),
        moment("changed_at", nullable=True),
        PrimaryKeyConstraint("mcp_id", "tool", name="pk_tool_pins"),
        ForeignKeyConstraint(["mcp_id"], ["mcps.id"], ondelete="CASCADE", name="fk_tool_pins_mcp_id"),
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
