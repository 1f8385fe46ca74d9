"""Recovery codes, each good for one sign-in without the authenticator."""

from sqlalchemy import ForeignKeyConstraint, PrimaryKeyConstraint

from storage.sql.migrations.steps import create_table, drop_table, identifier, moment, string

revision = "0016"
down_revision = "0015"
TABLE = "recovery_codes"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        identifier("id"),
        identifier("user_id"),
        string("code_hash"),
        moment("spent_at", nullable=True),
        PrimaryKeyConstraint("id", name="pk_recovery_codes"),
        ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE", name="fk_recovery_codes_user_id"),
        indexes={
            "ix_recovery_codes_user_id": ["user_id"],
        },
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
