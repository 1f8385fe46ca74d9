"""What governs each MCP at the gateway."""

from sqlalchemy import Column, ForeignKeyConstraint, Integer, PrimaryKeyConstraint

from storage.sql.migrations.steps import LONG_TEXT, create_table, drop_table, identifier, moment

revision = "0036"
down_revision = "0035"
TABLE = "mcp_policies"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        identifier("mcp_id"),
        Column("revision", Integer(), nullable=False),
        Column("policy", LONG_TEXT, nullable=False),
        moment("updated_at"),
        identifier("updated_by"),
        PrimaryKeyConstraint("mcp_id", name="pk_mcp_policies"),
        ForeignKeyConstraint(["mcp_id"], ["mcps.id"], ondelete="CASCADE", name="fk_mcp_policies_mcp_id"),
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
