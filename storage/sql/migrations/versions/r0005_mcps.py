"""Registered MCPs."""

from sqlalchemy import Column, Integer, PrimaryKeyConstraint, UniqueConstraint

from storage.sql.migrations.steps import LONG_TEXT, WORD, create_table, drop_table, identifier, moment, string

revision = "0005"
down_revision = "0004"
TABLE = "mcps"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        identifier("id"),
        string("name"),
        string("slug", 100),
        Column("description", LONG_TEXT, nullable=False),
        string("version", 64),
        identifier("author_id"),
        Column("status", WORD, nullable=False),
        string("config_key"),
        Column("revision", Integer(), nullable=False),
        moment("created_at"),
        moment("updated_at"),
        Column("search_text", LONG_TEXT, nullable=False),
        PrimaryKeyConstraint("id", name="pk_mcps"),
        UniqueConstraint("slug", name="uq_mcps_slug"),
        indexes={"ix_mcps_status": ["status"], "ix_mcps_created_at_id": ["created_at", "id"]},
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
