"""How often somebody has decided about a pinned tool."""

from sqlalchemy import Column, Integer

from storage.sql.migrations.steps import add_column, drop_column

revision = "0055"
down_revision = "0054"


def upgrade() -> None:
    """Add the column."""
    add_column("tool_pins", Column("decisions", Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Drop the column."""
    drop_column("tool_pins", "decisions")
