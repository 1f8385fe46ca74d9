"""API keys."""

from sqlalchemy import ForeignKeyConstraint, PrimaryKeyConstraint, UniqueConstraint

from storage.sql.migrations.steps import create_table, drop_table, identifier, moment, string

revision = "0004"
down_revision = "0003"
TABLE = "api_keys"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        identifier("id"),
        identifier("user_id"),
        string("name"),
        string("prefix"),
        string("key_hash"),
        moment("created_at"),
        moment("expires_at", nullable=True),
        moment("revoked_at", nullable=True),
        PrimaryKeyConstraint("id", name="pk_api_keys"),
        UniqueConstraint("key_hash", name="uq_api_keys_key_hash"),
        ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE", name="fk_api_keys_user_id"),
        indexes={"ix_api_keys_user_id": ["user_id"]},
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
