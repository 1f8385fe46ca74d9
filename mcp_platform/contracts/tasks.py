"""Background operations that a user can watch."""

from enum import StrEnum
from typing import Any
from uuid import UUID

from mcp_platform.contracts.base import Contract, Moment


class TaskState(StrEnum):
    """Where a task stands. The last three are final."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing more will happen."""
        return self in FINAL_STATES


FINAL_STATES = frozenset({TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED})


class TaskKind(StrEnum):
    """What a task does."""

    BUILD_IMAGE = "build_image"
    FEASIBILITY = "feasibility"
    GENERATION = "generation"
    GITHUB_CHECK = "github_check"
    GITHUB_DEPLOY = "github_deploy"
    GITHUB_DISCONNECT = "github_disconnect"
    GITHUB_PUSH = "github_push"
    GITHUB_SYNC = "github_sync"
    IMPROVEMENTS = "improvements"
    INDEXING = "indexing"
    MCP_DELETION = "mcp_deletion"


REPEATED_KINDS = frozenset(
    {
        TaskKind.BUILD_IMAGE,
        TaskKind.GITHUB_CHECK,
        TaskKind.GITHUB_DEPLOY,
        TaskKind.GITHUB_SYNC,
        TaskKind.INDEXING,
    }
)
"""Tasks that begin anew under the same id: when a build is tried again, when a document or a repository
changes."""


class TaskStatus(Contract):
    """What a workflow's `status` query answers: one revision for each change."""

    revision: int = 0
    status: TaskState = TaskState.PENDING
    progress: int = 0
    """Percent of the steps that are done."""
    message: str = ""
    result: dict[str, Any] | None = None
    error: str | None = None


class TaskRecord(Contract):
    """A task as it is stored; `result_key` points to an immutable document."""

    task_id: str
    kind: TaskKind
    owner_id: UUID
    status: TaskState
    progress: int = 0
    message: str = ""
    error: str | None = None
    result_key: str | None = None
    created_at: Moment
    completed_at: Moment | None = None


class TaskOutcome(Contract):
    """What a workflow asks to be recorded when it ends."""

    task_id: str
    status: TaskState
    progress: int = 0
    message: str = ""
    result: dict[str, Any] | None = None
    error: str | None = None
