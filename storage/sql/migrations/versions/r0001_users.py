"""Accounts."""

from sqlalchemy import Boolean, Column, PrimaryKeyConstraint, UniqueConstraint

from storage.sql.migrations.steps import WORD, create_table, drop_table, identifier, moment, string

revision = "0001"
down_revision = None
TABLE = "users"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        identifier("id"),
        string("username"),
        string("username_key"),
        string("email"),
        string("email_key"),
        string("password_hash"),
        Column("role", WORD, nullable=False),
        Column("is_active", Boolean(), nullable=False),
        moment("created_at"),
        PrimaryKeyConstraint("id", name="pk_users"),
        UniqueConstraint("username_key", name="uq_users_username_key"),
        UniqueConstraint("email_key", name="uq_users_email_key"),
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
