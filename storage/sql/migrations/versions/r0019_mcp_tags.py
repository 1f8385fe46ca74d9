"""Tags of MCPs."""

from sqlalchemy import ForeignKeyConstraint, PrimaryKeyConstraint

from storage.sql.migrations.steps import create_table, drop_table, identifier, string

revision = "0019"
down_revision = "0018"
TABLE = "mcp_tags"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        identifier("mcp_id"),
        string("tag", 64),
        PrimaryKeyConstraint("mcp_id", "tag", name="pk_mcp_tags"),
        ForeignKeyConstraint(["mcp_id"], ["mcps.id"], ondelete="CASCADE", name="fk_mcp_tags_mcp_id"),
        indexes={
            "ix_mcp_tags_tag": ["tag"],
        },
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
