"""When a session began."""

from storage.sql.migrations.steps import add_column, drop_column, moment

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    """Add the column."""
    add_column("token_families", moment("created_at", nullable=True))


def downgrade() -> None:
    """Drop the column."""
    drop_column("token_families", "created_at")
