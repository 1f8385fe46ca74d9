"""The audit log: who did what, on what, from where, and what came of it."""

from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from mcp_platform.contracts.base import Contract, Moment


class AuditOutcome(StrEnum):
    """What came of it."""

    SUCCESS = "success"
    DENIED = "denied"
    """Not signed in, not allowed, or too often."""
    FAILED = "failed"


class AuditEvent(Contract):
    """Something that somebody did, or tried to do."""

    at: Moment
    actor_id: UUID | None = None
    actor_name: str = ""
    """For a failed sign-in the name that was tried."""
    credential: str = ""
    """`session:<id>` or `key:<id>`; empty where none held."""
    action: str
    """`<room>.<what>`, such as `mcps.create_mcp`."""
    resource_type: str = ""
    resource_id: str = ""
    address: str = ""
    outcome: AuditOutcome
    status: int
    """The HTTP status of the answer."""
    request_id: str = ""
    details: dict[str, Any] = {}


class AuditEntry(AuditEvent):
    """An entry as it stands in the log; `hash` covers all of it and the hash of the one before."""

    seq: int
    hash: str


class AuditFilter(Contract):
    """Which entries are wanted; what is not given does not matter."""

    actor: str | None = None
    """An account's id or name."""
    action: str | None = None
    """A whole action, or a room."""
    resource_type: str | None = None
    resource_id: str | None = None
    outcome: AuditOutcome | None = None
    address: str | None = None
    since: Moment | None = None
    until: Moment | None = None


class BreachKind(StrEnum):
    """How the log was tampered with."""

    CHANGED = "changed"
    MISSING = "missing"
    REORDERED = "reordered"
    """It does not follow the entry before it."""
    CUT_AT_START = "cut off at the start"
    CUT_AT_END = "cut off at the end"
    ADDED = "added"
    """It lies beyond the end, where only the platform may write."""
    ENDS_CHANGED = "the record of its beginning and end was changed"


class Breach(Contract):
    """The first thing that is wrong with the log."""

    kind: BreachKind
    seq: int


class Verification(Contract):
    """What a check of the whole log found."""

    entries: Annotated[int, Field(ge=0)]
    """How many are whole, from the first on."""
    first_seq: int
    last_seq: int
    last_hash: str
    """Noted elsewhere, it proves later that nothing up to here was taken away."""
    first_at: Moment | None = None
    last_at: Moment | None = None
    breach: Breach | None = None
