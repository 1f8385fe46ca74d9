"""OAuth clients that registered themselves."""

from sqlalchemy import Column, PrimaryKeyConstraint

from storage.sql.migrations.steps import LONG_TEXT, create_table, drop_table, moment, string

revision = "0040"
down_revision = "0039"
TABLE = "oauth_clients"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        string("id", 64),
        string("name"),
        Column("redirect_uris", LONG_TEXT, nullable=False),
        string("authentication", 32),
        string("secret_hash", 64, nullable=True),
        moment("created_at"),
        moment("last_used_at"),
        PrimaryKeyConstraint("id", name="pk_oauth_clients"),
        indexes={"ix_oauth_clients_last_used_at": ["last_used_at"]},
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
