"""What is set while the platform runs."""

from sqlalchemy import Column, PrimaryKeyConstraint

from storage.sql.migrations.steps import LONG_TEXT, create_table, drop_table, identifier, moment, string

revision = "0046"
down_revision = "0045"
TABLE = "running_settings"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        string("name", 64),
        Column("value", LONG_TEXT, nullable=False),
        moment("changed_at"),
        identifier("changed_by"),
        PrimaryKeyConstraint("name", name="pk_running_settings"),
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
