"""What operators wish of replicas: their weights, and which are called no more."""

from sqlalchemy import Boolean, Column, Double, ForeignKeyConstraint, Integer, PrimaryKeyConstraint

from storage.sql.migrations.steps import create_table, drop_table, identifier

revision = "0047"
down_revision = "0046"
TABLE = "replica_overrides"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        identifier("deployment_id"),
        Column("ordinal", Integer(), nullable=False, autoincrement=False),
        Column("weight", Double(), nullable=False),
        Column("offline", Boolean(), nullable=False),
        PrimaryKeyConstraint("deployment_id", "ordinal", name="pk_replica_overrides"),
        ForeignKeyConstraint(
            ["deployment_id"],
            ["deployments.id"],
            name="fk_replica_overrides_deployment_id_deployments",
            ondelete="CASCADE",
        ),
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
