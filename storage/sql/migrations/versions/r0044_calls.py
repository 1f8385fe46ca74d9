"""The journal of calls."""

from sqlalchemy import Column, Double, PrimaryKeyConstraint

from storage.sql.migrations.steps import WORD, create_table, drop_table, identifier, string

revision = "0044"
down_revision = "0043"
TABLE = "calls"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        string("id", 32),
        identifier("mcp_id"),
        string("slug", 100),
        string("tool", 128),
        identifier("replica_id", nullable=True),
        identifier("user_id", nullable=True),
        string("credential", 64),
        Column("via", WORD, nullable=False),
        Column("outcome", WORD, nullable=False),
        Column("duration_ms", Double(), nullable=False),
        string("request_id", 128),
        PrimaryKeyConstraint("id", name="pk_calls"),
        indexes={"ix_calls_mcp_id_id": ["mcp_id", "id"], "ix_calls_user_id_id": ["user_id", "id"]},
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
