"""What each embedding model makes of each passage."""

from sqlalchemy import Column, PrimaryKeyConstraint

from storage.sql.migrations.steps import LONG_BINARY, create_table, drop_table, string

revision = "0024"
down_revision = "0023"
TABLE = "knowledge_embeddings"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        string("model", 128),
        string("text_hash", 64),
        Column("vector", LONG_BINARY, nullable=False),
        PrimaryKeyConstraint("model", "text_hash", name="pk_knowledge_embeddings"),
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
