"""Groups of accounts and MCPs."""

from sqlalchemy import Column, ForeignKeyConstraint, PrimaryKeyConstraint, UniqueConstraint

from storage.sql.migrations.steps import LONG_TEXT, WORD, create_table, drop_table, identifier, moment, string

revision = "0039"
down_revision = "0038"


def upgrade() -> None:
    """Create the tables."""
    create_table(
        "user_groups",
        identifier("id"),
        string("name", 64),
        string("display_name"),
        Column("description", LONG_TEXT, nullable=False),
        identifier("owner_id"),
        Column("settings", LONG_TEXT, nullable=False),
        moment("created_at"),
        moment("updated_at"),
        PrimaryKeyConstraint("id", name="pk_user_groups"),
        UniqueConstraint("name", name="uq_user_groups_name"),
        indexes={"ix_user_groups_owner_id": ["owner_id"]},
    )
    create_table(
        "group_members",
        identifier("group_id"),
        identifier("user_id"),
        Column("role", WORD, nullable=False),
        moment("added_at"),
        PrimaryKeyConstraint("group_id", "user_id", name="pk_group_members"),
        _part_of("group_members", "group_id", "user_groups"),
        _part_of("group_members", "user_id", "users"),
        indexes={"ix_group_members_user_id": ["user_id"]},
    )
    create_table(
        "group_mcps",
        identifier("group_id"),
        identifier("mcp_id"),
        Column("permissions", LONG_TEXT, nullable=False),
        moment("added_at"),
        PrimaryKeyConstraint("group_id", "mcp_id", name="pk_group_mcps"),
        _part_of("group_mcps", "group_id", "user_groups"),
        _part_of("group_mcps", "mcp_id", "mcps"),
        indexes={"ix_group_mcps_mcp_id": ["mcp_id"]},
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in ("group_mcps", "group_members", "user_groups"):
        drop_table(table)


def _part_of(table: str, column: str, whole: str) -> ForeignKeyConstraint:
    return ForeignKeyConstraint([column], [f"{whole}.id"], ondelete="CASCADE", name=f"fk_{table}_{column}")
