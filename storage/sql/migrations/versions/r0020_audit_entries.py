"""The audit log: one chain of entries."""

from sqlalchemy import BigInteger, Column, Integer, PrimaryKeyConstraint

from storage.sql.migrations.steps import LONG_TEXT, create_table, drop_table, identifier, moment, string

revision = "0020"
down_revision = "0019"
TABLE = "audit_entries"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        Column("seq", BigInteger(), nullable=False, autoincrement=False),
        moment("at"),
        identifier("actor_id", nullable=True),
        string("actor_name"),
        string("credential"),
        string("action"),
        string("resource_type"),
        string("resource_id"),
        string("address"),
        string("outcome", 32),
        Column("status", Integer(), nullable=False),
        string("request_id"),
        Column("details", LONG_TEXT, nullable=False),
        string("previous_hash", 64),
        string("hash", 64),
        PrimaryKeyConstraint("seq", name="pk_audit_entries"),
        indexes={
            "ix_audit_entries_at": ["at"],
            "ix_audit_entries_actor_id_seq": ["actor_id", "seq"],
            "ix_audit_entries_resource_id": ["resource_id"],
        },
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
