"""Finding tasks by the moment of their end."""

from storage.sql.migrations.steps import add_index, drop_index

revision = "0033"
down_revision = "0032"
INDEX = "ix_tasks_completed_at_task_id"


def upgrade() -> None:
    """Create the index."""
    add_index("tasks", INDEX, ["completed_at", "task_id"])


def downgrade() -> None:
    """Drop the index."""
    drop_index("tasks", INDEX)
