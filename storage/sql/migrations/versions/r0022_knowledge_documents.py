"""Documents of the knowledge base; their texts are in the document store."""

from sqlalchemy import Column, Integer, PrimaryKeyConstraint

from storage.sql.migrations.steps import LONG_TEXT, create_table, drop_table, identifier, moment, string

revision = "0022"
down_revision = "0021"
TABLE = "knowledge_documents"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        identifier("id"),
        string("title", 500),
        identifier("owner_id"),
        Column("details", LONG_TEXT, nullable=False),
        string("content_key"),
        identifier("embedding_id"),
        Column("revision", Integer(), nullable=False),
        Column("indexed_revision", Integer(), nullable=False),
        moment("created_at"),
        moment("updated_at"),
        moment("indexed_at", nullable=True),
        string("source", nullable=True),
        string("language", 35, nullable=True),
        Column("tags_text", LONG_TEXT, nullable=False),
        PrimaryKeyConstraint("id", name="pk_knowledge_documents"),
        indexes={
            "ix_knowledge_documents_created_at_id": ["created_at", "id"],
            "ix_knowledge_documents_indexed_at": ["indexed_at"],
            "ix_knowledge_documents_content_key": ["content_key"],
        },
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
