"""What users granted OAuth clients."""

from sqlalchemy import Column, ForeignKeyConstraint, PrimaryKeyConstraint, UniqueConstraint

from storage.sql.migrations.steps import LONG_TEXT, create_table, drop_table, identifier, moment, string

revision = "0041"
down_revision = "0040"
TABLE = "oauth_grants"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        identifier("id"),
        identifier("user_id"),
        string("client_id", 512),
        string("client_name"),
        string("resource", 512),
        string("scope"),
        Column("redirect_uri", LONG_TEXT, nullable=False),
        string("code_hash", 64),
        string("challenge", 64),
        moment("code_spent_at", nullable=True),
        moment("created_at"),
        moment("last_used_at", nullable=True),
        moment("expires_at"),
        moment("revoked_at", nullable=True),
        PrimaryKeyConstraint("id", name="pk_oauth_grants"),
        UniqueConstraint("code_hash", name="uq_oauth_grants_code_hash"),
        ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_oauth_grants_user_id", ondelete="CASCADE"),
        indexes={
            "ix_oauth_grants_user_id": ["user_id"],
            "ix_oauth_grants_expires_at": ["expires_at"],
        },
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
