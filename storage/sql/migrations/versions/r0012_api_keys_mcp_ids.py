"""Which MCPs an API key may use; absent: all."""

from sqlalchemy import Column

from storage.sql.migrations.steps import LONG_TEXT, add_column, drop_column

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the column."""
    add_column("api_keys", Column("mcp_ids", LONG_TEXT, nullable=True))


def downgrade() -> None:
    """Drop the column."""
    drop_column("api_keys", "mcp_ids")
