"""With which program a session was begun."""

from storage.sql.migrations.steps import add_column, drop_column, string

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    """Add the column."""
    add_column("token_families", string("user_agent", nullable=True))


def downgrade() -> None:
    """Drop the column."""
    drop_column("token_families", "user_agent")
