"""Which authorization server a client's secret is for."""

from sqlalchemy import Column, ForeignKeyConstraint, PrimaryKeyConstraint

from storage.sql.migrations.steps import LONG_TEXT, create_table, drop_table, identifier, string

revision = "0048"
down_revision = "0047"
TABLE = "upstream_issuers"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        identifier("mcp_id"),
        string("server"),
        string("client_hash", 64),
        Column("issuer", LONG_TEXT, nullable=False),
        PrimaryKeyConstraint("mcp_id", "server", name="pk_upstream_issuers"),
        ForeignKeyConstraint(["mcp_id"], ["mcps.id"], name="fk_upstream_issuers_mcp_id", ondelete="CASCADE"),
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
