"""Revisions of deployments; each deployment that there is has its first."""

from alembic import op
from sqlalchemy import Boolean, Column, ForeignKeyConstraint, Integer, PrimaryKeyConstraint, Text, text

from storage.sql.migrations.steps import (
    LONG_TEXT,
    WORD,
    add_column,
    create_table,
    drop_column,
    drop_table,
    identifier,
    moment,
    string,
)

revision = "0034"
down_revision = "0033"
TABLE = "deployment_revisions"
_FIRST = text(
    "INSERT INTO deployment_revisions (deployment_id, number, cause, version, config_key, driver, config,"
    " author_id, image, builds, state, reason, created_at, ended_at)"
    " SELECT id, 1, 'deploy', version, config_key, driver, config, owner_id, NULL, 0,"
    " CASE WHEN status = 'stopped' THEN 'superseded' ELSE 'active' END, NULL, deployed_at, stopped_at"
    " FROM deployments WHERE id NOT IN (SELECT deployment_id FROM deployment_revisions)"
)


def upgrade() -> None:
    """Create the table and its first rows, and add the columns that refer to it."""
    create_table(
        TABLE,
        identifier("deployment_id"),
        Column("number", Integer(), nullable=False, autoincrement=False),
        Column("cause", WORD, nullable=False),
        string("version", 64),
        string("config_key"),
        Column("driver", WORD, nullable=False),
        Column("config", LONG_TEXT, nullable=False),
        identifier("author_id", nullable=True),
        string("image", nullable=True),
        Column("builds", Boolean(), nullable=False),
        Column("state", WORD, nullable=False),
        Column("reason", Text(), nullable=True),
        moment("created_at"),
        moment("ended_at", nullable=True),
        PrimaryKeyConstraint("deployment_id", "number", name="pk_deployment_revisions"),
        ForeignKeyConstraint(
            ["deployment_id"],
            ["deployments.id"],
            ondelete="CASCADE",
            name="fk_deployment_revisions_deployment_id",
        ),
        indexes={"ix_deployment_revisions_config_key": ["config_key"]},
    )
    op.execute(_FIRST)
    add_column("deployments", Column("revision", Integer(), nullable=False, server_default="1"))
    add_column("deployments", Column("rollout", LONG_TEXT, nullable=True))
    add_column("replicas", Column("revision", Integer(), nullable=False, server_default="1"))
    add_column("replicas", string("container", nullable=True))


def downgrade() -> None:
    """Drop the columns and the table."""
    for table, name in (
        ("replicas", "container"),
        ("replicas", "revision"),
        ("deployments", "rollout"),
        ("deployments", "revision"),
    ):
        drop_column(table, name)
    drop_table(TABLE)
