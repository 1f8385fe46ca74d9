"""What was counted and measured of deployments and replicas, for charts."""

from sqlalchemy import BigInteger, Column, Double, Integer, PrimaryKeyConstraint

from storage.sql.migrations.steps import LONG_TEXT, create_table, drop_table, identifier

revision = "0035"
down_revision = "0034"
TABLE = "deployment_figures"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        identifier("deployment_id"),
        Column("span", Integer(), nullable=False, autoincrement=False),
        Column("begins", BigInteger(), nullable=False, autoincrement=False),
        identifier("replica_id"),
        Column("requests", BigInteger(), nullable=False),
        Column("errors", BigInteger(), nullable=False),
        Column("latency_ms", Double(), nullable=False),
        Column("histogram", LONG_TEXT, nullable=True),
        Column("seconds", Double(), nullable=False),
        Column("cpu_seconds", Double(), nullable=False),
        Column("memory_bytes", BigInteger(), nullable=True),
        Column("restarts", Integer(), nullable=True),
        PrimaryKeyConstraint("deployment_id", "span", "begins", "replica_id", name="pk_deployment_figures"),
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
