"""The embedding model that searches go by."""

from sqlalchemy import Column, Integer, PrimaryKeyConstraint

from storage.sql.migrations.steps import create_table, drop_table, moment, string

revision = "0025"
down_revision = "0024"
TABLE = "knowledge_model"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        Column("id", Integer(), nullable=False, autoincrement=False),
        string("name", 128),
        moment("activated_at"),
        PrimaryKeyConstraint("id", name="pk_knowledge_model"),
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
