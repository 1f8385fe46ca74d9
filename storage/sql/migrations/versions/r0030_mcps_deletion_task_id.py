"""The task that deletes an MCP, while there is one."""

from storage.sql.migrations.steps import add_column, drop_column, string

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    """Add the column."""
    add_column("mcps", string("deletion_task_id", nullable=True))


def downgrade() -> None:
    """Drop the column."""
    drop_column("mcps", "deletion_task_id")
