"""Deployments."""

from sqlalchemy import BigInteger, Column, Double, PrimaryKeyConstraint, Text, UniqueConstraint

from storage.sql.migrations.steps import LONG_TEXT, WORD, create_table, drop_table, identifier, moment, string

revision = "0008"
down_revision = "0007"
TABLE = "deployments"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        identifier("id"),
        identifier("mcp_id"),
        string("slug", 100),
        string("active_slug", 100, nullable=True),
        string("tool_name"),
        string("version", 64),
        identifier("owner_id"),
        Column("driver", WORD, nullable=False),
        Column("config", LONG_TEXT, nullable=False),
        string("config_key"),
        Column("status", WORD, nullable=False),
        Column("health_status", WORD, nullable=False),
        Column("reason", Text(), nullable=True),
        moment("deployed_at"),
        moment("stopped_at", nullable=True),
        Column("requests_total", BigInteger(), nullable=False),
        Column("errors_total", BigInteger(), nullable=False),
        Column("latency_ms_total", Double(), nullable=False),
        PrimaryKeyConstraint("id", name="pk_deployments"),
        UniqueConstraint("active_slug", name="uq_deployments_active_slug"),
        indexes={
            "ix_deployments_mcp_id": ["mcp_id"],
            "ix_deployments_status": ["status"],
            "ix_deployments_deployed_at_id": ["deployed_at", "id"],
        },
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
