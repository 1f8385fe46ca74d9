"""Secrets, sealed."""

from sqlalchemy import Column, PrimaryKeyConstraint, UniqueConstraint

from storage.sql.migrations.steps import LONG_TEXT, create_table, drop_table, identifier, moment, string

revision = "0018"
down_revision = "0017"
TABLE = "secrets"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        identifier("id"),
        string("holder", 32),
        string("name", 128),
        Column("sealed_value", LONG_TEXT, nullable=False),
        moment("created_at"),
        moment("updated_at"),
        PrimaryKeyConstraint("id", name="pk_secrets"),
        UniqueConstraint("holder", "name", name="uq_secrets_holder_name"),
        indexes={
            "ix_secrets_name": ["name"],
        },
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
