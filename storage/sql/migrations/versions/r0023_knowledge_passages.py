"""Passages of the documents of the knowledge base."""

from sqlalchemy import Column, ForeignKeyConstraint, Integer, PrimaryKeyConstraint

from storage.sql.migrations.steps import LONG_BINARY, LONG_TEXT, create_table, drop_table, identifier, string

revision = "0023"
down_revision = "0022"
TABLE = "knowledge_passages"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        identifier("document_id"),
        Column("ordinal", Integer(), nullable=False, autoincrement=False),
        Column("begins", Integer(), nullable=False),
        Column("ends", Integer(), nullable=False),
        Column("context", LONG_TEXT, nullable=False),
        Column("text", LONG_TEXT, nullable=False),
        string("text_hash", 64),
        Column("terms", LONG_BINARY, nullable=False),
        PrimaryKeyConstraint("document_id", "ordinal", name="pk_knowledge_passages"),
        ForeignKeyConstraint(
            ["document_id"],
            ["knowledge_documents.id"],
            ondelete="CASCADE",
            name="fk_knowledge_passages_document_id",
        ),
        indexes={
            "ix_knowledge_passages_text_hash": ["text_hash"],
        },
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
