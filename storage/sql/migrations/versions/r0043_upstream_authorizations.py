"""What remote servers granted the platform."""

from sqlalchemy import Column, ForeignKeyConstraint, PrimaryKeyConstraint, Text

from storage.sql.migrations.steps import LONG_TEXT, create_table, drop_table, identifier, moment, string

revision = "0043"
down_revision = "0042"
TABLE = "upstream_authorizations"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        identifier("id"),
        identifier("mcp_id"),
        string("server"),
        identifier("user_id", nullable=True),
        string("state", 32),
        Column("detail", Text(), nullable=False),
        Column("wanted_scope", Text(), nullable=True),
        Column("resource", LONG_TEXT, nullable=False),
        Column("issuer", LONG_TEXT, nullable=False),
        Column("scope", Text(), nullable=False),
        Column("sealed_registration", LONG_TEXT, nullable=True),
        Column("sealed_tokens", LONG_TEXT, nullable=True),
        Column("sealed_code", LONG_TEXT, nullable=True),
        identifier("created_by"),
        moment("created_at"),
        moment("updated_at"),
        moment("expires_at", nullable=True),
        PrimaryKeyConstraint("id", name="pk_upstream_authorizations"),
        ForeignKeyConstraint(
            ["mcp_id"], ["mcps.id"], name="fk_upstream_authorizations_mcp_id", ondelete="CASCADE"
        ),
        ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_upstream_authorizations_user_id", ondelete="CASCADE"
        ),
        indexes={
            "ix_upstream_authorizations_mcp_id": ["mcp_id"],
            "ix_upstream_authorizations_user_id": ["user_id"],
        },
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
