"""Sessions, each a family of refresh tokens."""

from sqlalchemy import ForeignKeyConstraint, PrimaryKeyConstraint

from storage.sql.migrations.steps import create_table, drop_table, identifier, moment

revision = "0002"
down_revision = "0001"
TABLE = "token_families"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        identifier("id"),
        identifier("user_id"),
        moment("expires_at"),
        moment("revoked_at", nullable=True),
        PrimaryKeyConstraint("id", name="pk_token_families"),
        ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE", name="fk_token_families_user_id"),
        indexes={"ix_token_families_user_id": ["user_id"], "ix_token_families_expires_at": ["expires_at"]},
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
