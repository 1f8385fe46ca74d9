"""What live listeners hear of, on `/events` and between processes."""

from enum import StrEnum
from typing import Any
from uuid import UUID

from mcp_platform.contracts.base import Contract


class EventType(StrEnum):
    """Names of server-sent events."""

    TASK_STARTED = "task_started"
    """Between processes only: a task exists and may be watched."""
    DEPLOYMENT_STATUS = "deployment_status"
    AUTHORIZATION_STATUS = "authorization_status"
    """An authorization of the platform at a remote server holds, or does not any more."""
    TOOL_QUARANTINED = "tool_quarantined"
    """A pinned tool was seen with another definition: `mcp_id`, `slug`, `tool` and `changed_digest`."""
    GITHUB_DRIFT = "github_drift"
    """How a repository and the platform stand to each other has changed: `connection_id`, `full_name`,
    `branch`, `drift` and what it was `before`."""


class Event(Contract):
    """One event; `owner_id` decides who may hear it."""

    type: EventType
    owner_id: UUID
    data: dict[str, Any]
