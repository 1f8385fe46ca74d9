"""Where the audit log begins and ends, and the sealed key of its hashes."""

from sqlalchemy import BigInteger, Column, Integer, PrimaryKeyConstraint

from storage.sql.migrations.steps import LONG_TEXT, create_table, drop_table, string

revision = "0021"
down_revision = "0020"
TABLE = "audit_chain"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        Column("id", Integer(), nullable=False, autoincrement=False),
        Column("first_seq", BigInteger(), nullable=False),
        string("first_hash", 64),
        Column("last_seq", BigInteger(), nullable=False),
        string("last_hash", 64),
        string("ends_hash", 64),
        Column("sealed_key", LONG_TEXT, nullable=False),
        PrimaryKeyConstraint("id", name="pk_audit_chain"),
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
