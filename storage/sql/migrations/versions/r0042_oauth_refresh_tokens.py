"""The refresh tokens of OAuth grants."""

from sqlalchemy import ForeignKeyConstraint, PrimaryKeyConstraint

from storage.sql.migrations.steps import create_table, drop_table, identifier, moment, string

revision = "0042"
down_revision = "0041"
TABLE = "oauth_refresh_tokens"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        string("token_hash", 64),
        identifier("grant_id"),
        moment("expires_at"),
        moment("spent_at", nullable=True),
        PrimaryKeyConstraint("token_hash", name="pk_oauth_refresh_tokens"),
        ForeignKeyConstraint(
            ["grant_id"], ["oauth_grants.id"], name="fk_oauth_refresh_tokens_grant_id", ondelete="CASCADE"
        ),
        indexes={
            "ix_oauth_refresh_tokens_grant_id": ["grant_id"],
            "ix_oauth_refresh_tokens_expires_at": ["expires_at"],
        },
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
