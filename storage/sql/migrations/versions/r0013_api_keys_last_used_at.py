"""When an API key was last used."""

from storage.sql.migrations.steps import add_column, drop_column, moment

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add the column."""
    add_column("api_keys", moment("last_used_at", nullable=True))


def downgrade() -> None:
    """Drop the column."""
    drop_column("api_keys", "last_used_at")
