"""Second factors: one authenticator for each account."""

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, PrimaryKeyConstraint

from storage.sql.migrations.steps import LONG_TEXT, create_table, drop_table, identifier, moment

revision = "0015"
down_revision = "0014"
TABLE = "second_factors"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        identifier("user_id"),
        Column("sealed_secret", LONG_TEXT, nullable=False),
        moment("created_at"),
        moment("confirmed_at", nullable=True),
        Column("last_step", BigInteger(), nullable=False),
        PrimaryKeyConstraint("user_id", name="pk_second_factors"),
        ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE", name="fk_second_factors_user_id"),
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
