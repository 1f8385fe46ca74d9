"""When a session was last refreshed."""

from storage.sql.migrations.steps import add_column, drop_column, moment

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    """Add the column."""
    add_column("token_families", moment("refreshed_at", nullable=True))


def downgrade() -> None:
    """Drop the column."""
    drop_column("token_families", "refreshed_at")
