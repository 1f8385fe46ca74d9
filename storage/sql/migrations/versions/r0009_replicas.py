"""Replicas of deployments."""

from sqlalchemy import Column, ForeignKeyConstraint, Integer, PrimaryKeyConstraint, Text

from storage.sql.migrations.steps import LONG_TEXT, WORD, create_table, drop_table, identifier, moment, string

revision = "0009"
down_revision = "0008"
TABLE = "replicas"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        identifier("id"),
        identifier("deployment_id"),
        Column("ordinal", Integer(), nullable=False),
        Column("state", WORD, nullable=False),
        string("url", 2048, nullable=True),
        Column("pid", Integer(), nullable=True),
        Column("restarts", Integer(), nullable=False),
        Column("reason", Text(), nullable=True),
        Column("stderr_tail", LONG_TEXT, nullable=False),
        moment("started_at"),
        PrimaryKeyConstraint("id", name="pk_replicas"),
        ForeignKeyConstraint(
            ["deployment_id"], ["deployments.id"], ondelete="CASCADE", name="fk_replicas_deployment_id"
        ),
        indexes={
            "ix_replicas_state": ["state"],
            "ix_replicas_deployment_id_state": ["deployment_id", "state"],
        },
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
