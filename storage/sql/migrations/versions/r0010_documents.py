"""Immutable documents, where there is no document store."""

from sqlalchemy import Column, PrimaryKeyConstraint

from storage.sql.migrations.steps import LONG_TEXT, create_table, drop_table, moment, string

revision = "0010"
down_revision = "0009"
TABLE = "documents"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        string("collection", 64),
        string("key"),
        Column("body", LONG_TEXT, nullable=False),
        moment("created_at"),
        PrimaryKeyConstraint("collection", "key", name="pk_documents"),
        indexes={"ix_documents_collection_created_at": ["collection", "created_at"]},
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
