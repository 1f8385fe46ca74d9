"""What kept calls in the journal from a good result."""

from storage.sql.migrations.steps import add_column, drop_column, string

revision = "0054"
down_revision = "0053"


def upgrade() -> None:
    """Add the column."""
    add_column("calls", string("error_code", 64, nullable=True))


def downgrade() -> None:
    """Drop the column."""
    drop_column("calls", "error_code")
