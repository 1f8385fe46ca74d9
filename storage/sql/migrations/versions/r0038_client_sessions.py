"""Sessions of MCP clients, where there is no Redis for them."""

from sqlalchemy import Column, Double, PrimaryKeyConstraint

from storage.sql.migrations.steps import LONG_TEXT, create_table, drop_table, string

revision = "0038"
down_revision = "0037"
TABLE = "client_sessions"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        string("id", 64),
        string("owner", 64),
        Column("body", LONG_TEXT, nullable=False),
        Column("used_at", Double(), nullable=False),
        PrimaryKeyConstraint("id", name="pk_client_sessions"),
        indexes={
            "ix_client_sessions_owner": ["owner"],
            "ix_client_sessions_used_at": ["used_at"],
        },
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
