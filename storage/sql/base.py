"""What all tables have in common."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import MetaData, String
from sqlalchemy.orm import DeclarativeBase

from mcp_platform.contracts.deployments import (
    DeploymentState,
    Driver,
    Health,
    ReplicaState,
    RevisionCause,
    RevisionState,
)
from mcp_platform.contracts.mcps import McpStatus
from mcp_platform.contracts.tasks import TaskKind, TaskState
from storage.sql.types import ID, UtcMoment, word

MYSQL_OPTIONS = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}
"""Binary collation, so that equality means the same as on SQLite; case is folded where it should be."""


class Base(DeclarativeBase):
    """All tables."""

    __table_args__: Any = MYSQL_OPTIONS
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {
        UUID: ID,
        str: String(255),
        datetime: UtcMoment,
        McpStatus: word(McpStatus),
        TaskState: word(TaskState),
        TaskKind: word(TaskKind),
        Driver: word(Driver),
        DeploymentState: word(DeploymentState),
        Health: word(Health),
        ReplicaState: word(ReplicaState),
        RevisionCause: word(RevisionCause),
        RevisionState: word(RevisionState),
    }
