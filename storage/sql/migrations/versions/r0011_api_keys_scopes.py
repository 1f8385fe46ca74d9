"""What an API key may do; absent: all that its owner may."""

from sqlalchemy import Column

from storage.sql.migrations.steps import LONG_TEXT, add_column, drop_column

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the column."""
    add_column("api_keys", Column("scopes", LONG_TEXT, nullable=True))


def downgrade() -> None:
    """Drop the column."""
    drop_column("api_keys", "scopes")
