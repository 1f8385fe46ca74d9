"""Where a session came from last."""

from storage.sql.migrations.steps import add_column, drop_column, string

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    """Add the column."""
    add_column("token_families", string("address", 64, nullable=True))


def downgrade() -> None:
    """Drop the column."""
    drop_column("token_families", "address")
