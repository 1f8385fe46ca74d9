"""What an MCP's other fields were at a revision."""

from sqlalchemy import Column

from storage.sql.migrations.steps import LONG_TEXT, add_column, drop_column

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    """Add the column; of revisions before it nothing is known."""
    add_column("mcp_versions", Column("fields", LONG_TEXT, nullable=True))


def downgrade() -> None:
    """Drop the column."""
    drop_column("mcp_versions", "fields")
