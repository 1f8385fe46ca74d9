"""Where a version of an MCP came from: a commit, or a task."""

from sqlalchemy import Column, String

from storage.sql.migrations.steps import add_column, drop_column

revision = "0049"
down_revision = "0048"


def upgrade() -> None:
    """Add the column."""
    add_column("mcp_versions", Column("origin", String(1024), nullable=True))


def downgrade() -> None:
    """Drop the column."""
    drop_column("mcp_versions", "origin")
