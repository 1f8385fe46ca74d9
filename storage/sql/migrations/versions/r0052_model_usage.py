"""What language models were asked, and what it cost."""

from sqlalchemy import BigInteger, Boolean, Column, Integer, PrimaryKeyConstraint

from storage.sql.migrations.steps import create_table, drop_table, identifier, moment, string

revision = "0052"
down_revision = "0051"
TABLE = "model_usage"


def upgrade() -> None:
    """Create the table."""
    create_table(
        TABLE,
        identifier("question_id"),
        Column("number", Integer(), nullable=False, autoincrement=False),
        identifier("user_id"),
        string("day", 10),
        string("task_id"),
        string("prompt", 128),
        string("model", 128),
        Column("place", Integer(), nullable=False),
        string("outcome", 32),
        Column("input_tokens", BigInteger(), nullable=False),
        Column("output_tokens", BigInteger(), nullable=False),
        Column("estimated", Boolean(), nullable=False),
        Column("cost_nanos", BigInteger(), nullable=True),
        moment("started_at"),
        PrimaryKeyConstraint("question_id", "number", name="pk_model_usage"),
        indexes={"ix_model_usage_user_id_day": ["user_id", "day"], "ix_model_usage_day": ["day"]},
    )


def downgrade() -> None:
    """Drop the table."""
    drop_table(TABLE)
