"""Definitions in connected repositories."""

from sqlalchemy import Boolean, Column, ForeignKeyConstraint, Integer, PrimaryKeyConstraint

from storage.sql.migrations.steps import LONG_TEXT, create_table, drop_table, identifier, string

revision = "0051"
down_revision = "0050"
TABLE = "connection_definitions"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        identifier("connection_id"),
        string("place", 64),
        Column("path", LONG_TEXT, nullable=False),
        Column("entry", LONG_TEXT, nullable=False),
        identifier("mcp_id"),
        string("blob", 64),
        Column("revision", Integer(), nullable=False),
        string("config_key"),
        Column("gone", Boolean(), nullable=False),
        Column("refused", Boolean(), nullable=False),
        PrimaryKeyConstraint("connection_id", "place", name="pk_connection_definitions"),
        ForeignKeyConstraint(
            ["connection_id"],
            ["connections.id"],
            name="fk_connection_definitions_connection_id",
            ondelete="CASCADE",
        ),
        ForeignKeyConstraint(
            ["mcp_id"], ["mcps.id"], name="fk_connection_definitions_mcp_id", ondelete="CASCADE"
        ),
        indexes={"ix_connection_definitions_mcp_id": ["mcp_id"]},
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
