"""Roles that administrators made; the built-in ones are no rows."""

from sqlalchemy import Column, PrimaryKeyConstraint

from storage.sql.migrations.steps import LONG_TEXT, create_table, drop_table, moment, string

revision = "0014"
down_revision = "0013"
TABLE = "roles"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        string("name", 32),
        string("description"),
        Column("permissions", LONG_TEXT, nullable=False),
        moment("created_at"),
        moment("updated_at"),
        PrimaryKeyConstraint("name", name="pk_roles"),
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
