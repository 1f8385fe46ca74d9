"""Entries to write, and keys to seal their chain with."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from mcp_platform.contracts.audit import AuditEvent, AuditOutcome
from mcp_platform.security.keys import MasterKey
from mcp_platform.security.sealing import Sealer

NOON = datetime(2026, 11, 20, 12, 0, 0, 123456, tzinfo=UTC)
SEALER = Sealer(MasterKey(b"k" * 32))
ANOTHER_SEALER = Sealer(MasterKey(b"x" * 32))


def event(**changes: Any) -> AuditEvent:
    """Describe that somebody registered an MCP."""
    values = {
        "at": NOON,
        "actor_id": uuid4(),
        "actor_name": "ada",
        "credential": f"session:{uuid4()}",
        "action": "mcps.create_mcp",
        "resource_type": "mcp_tool",
        "resource_id": str(uuid4()),
        "address": "192.0.2.1",
        "outcome": AuditOutcome.SUCCESS,
        "status": 201,
        "request_id": uuid4().hex,
    }
    return AuditEvent.model_validate(values | changes)
