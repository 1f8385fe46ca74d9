"""Background operations."""

from sqlalchemy import Column, Integer, PrimaryKeyConstraint, Text

from storage.sql.migrations.steps import WORD, create_table, drop_table, identifier, moment, string

revision = "0007"
down_revision = "0006"
TABLE = "tasks"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        string("task_id"),
        Column("kind", WORD, nullable=False),
        identifier("owner_id"),
        Column("status", WORD, nullable=False),
        Column("progress", Integer(), nullable=False),
        Column("message", Text(), nullable=False),
        Column("error", Text(), nullable=True),
        string("result_key", nullable=True),
        moment("created_at"),
        moment("completed_at", nullable=True),
        PrimaryKeyConstraint("task_id", name="pk_tasks"),
        indexes={
            "ix_tasks_status": ["status"],
            "ix_tasks_created_at_task_id": ["created_at", "task_id"],
            "ix_tasks_owner_id_created_at": ["owner_id", "created_at"],
        },
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
