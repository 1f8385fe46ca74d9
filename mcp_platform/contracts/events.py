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


class Event(Contract):
    """One event; `owner_id` decides who may hear it."""

    type: EventType
    owner_id: UUID
    data: dict[str, Any]
