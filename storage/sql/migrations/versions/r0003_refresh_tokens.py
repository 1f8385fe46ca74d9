"""Refresh tokens."""

from sqlalchemy import ForeignKeyConstraint, PrimaryKeyConstraint

from storage.sql.migrations.steps import create_table, drop_table, identifier, moment

revision = "0003"
down_revision = "0002"
TABLE = "refresh_tokens"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        identifier("id"),
        identifier("family_id"),
        moment("expires_at"),
        moment("spent_at", nullable=True),
        PrimaryKeyConstraint("id", name="pk_refresh_tokens"),
        ForeignKeyConstraint(
            ["family_id"], ["token_families.id"], ondelete="CASCADE", name="fk_refresh_tokens_family_id"
        ),
        indexes={
            "ix_refresh_tokens_family_id": ["family_id"],
            "ix_refresh_tokens_expires_at": ["expires_at"],
        },
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
