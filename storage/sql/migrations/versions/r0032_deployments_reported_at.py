"""When a deployment's status was last written."""

from storage.sql.migrations.steps import add_column, add_index, drop_column, drop_index, moment

revision = "0032"
down_revision = "0031"
INDEX = "ix_deployments_reported_at"


def upgrade() -> None:
    """Add the column and its index."""
    add_column("deployments", moment("reported_at", nullable=True))
    add_index("deployments", INDEX, ["reported_at"])


def downgrade() -> None:
    """Drop the index and the column."""
    drop_index("deployments", INDEX)
    drop_column("deployments", "reported_at")
