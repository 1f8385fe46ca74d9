"""Failed sign-ins, by account and by address."""

from sqlalchemy import Column, Integer, PrimaryKeyConstraint

from storage.sql.migrations.steps import create_table, drop_table, moment, string

revision = "0017"
down_revision = "0016"
TABLE = "sign_in_failures"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        string("subject"),
        Column("failures", Integer(), nullable=False),
        moment("last_failed_at"),
        moment("locked_until", nullable=True),
        PrimaryKeyConstraint("subject", name="pk_sign_in_failures"),
        indexes={
            "ix_sign_in_failures_last_failed_at": ["last_failed_at"],
        },
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
