"""The history of MCPs."""

from sqlalchemy import Column, ForeignKeyConstraint, Integer, PrimaryKeyConstraint

from storage.sql.migrations.steps import create_table, drop_table, identifier, moment, string

revision = "0006"
down_revision = "0005"
TABLE = "mcp_versions"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        identifier("mcp_id"),
        Column("revision", Integer(), nullable=False),
        string("version", 64),
        moment("changed_at"),
        identifier("changed_by"),
        string("change_type", 32),
        string("config_key"),
        PrimaryKeyConstraint("mcp_id", "revision", name="pk_mcp_versions"),
        ForeignKeyConstraint(["mcp_id"], ["mcps.id"], ondelete="CASCADE", name="fk_mcp_versions_mcp_id"),
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
