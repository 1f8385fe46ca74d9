"""What was counted of each tool."""

from sqlalchemy import BigInteger, Column, Double, Integer, PrimaryKeyConstraint

from storage.sql.migrations.steps import LONG_TEXT, create_table, drop_table, identifier, string

revision = "0045"
down_revision = "0044"
TABLE = "tool_figures"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        Column("span", Integer(), nullable=False, autoincrement=False),
        identifier("mcp_id"),
        string("tool", 128),
        Column("begins", BigInteger(), nullable=False, autoincrement=False),
        Column("requests", BigInteger(), nullable=False),
        Column("errors", BigInteger(), nullable=False),
        Column("latency_ms", Double(), nullable=False),
        Column("histogram", LONG_TEXT, nullable=True),
        PrimaryKeyConstraint("span", "mcp_id", "tool", "begins", name="pk_tool_figures"),
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
