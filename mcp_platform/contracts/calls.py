"""Calls of tools, as they are kept: who called what, when, and what came of it."""

from enum import StrEnum
from uuid import UUID

from mcp_platform.contracts.base import Contract, Moment


class Via(StrEnum):
    """By which door a call came."""

    MCP = "mcp"
    """An MCP client, at the endpoint of one MCP."""
    REST = "rest"
    GROUP = "group"
    """An MCP client, at a group's endpoint."""
    SMART = "smart"
    """An MCP client at `/mcp/smart`, or a smart call of the bridge."""
    BRIDGE = "bridge"
    """A direct call of the bridge."""
    PLATFORM = "platform"
    """The platform itself, as for an execution."""


class Outcome(StrEnum):
    """How a tool call ended."""

    OK = "ok"
    TOOL_ERROR = "tool_error"
    REFUSED = "refused"
    """The server refused it with a JSON-RPC error."""
    FAILED = "failed"
    """No answer: the upstream was away, broke or was too slow."""
    CANCELLED = "cancelled"
    """The caller left."""
    DENIED = "denied"
    """The gateway's own policy or limits refused it, and no server was asked."""

    @property
    def is_error(self) -> bool:
        """Whether the caller did not get what it asked for; one that left did not want it any more."""
        return self not in (Outcome.OK, Outcome.CANCELLED)


class CallRecord(Contract):
    """One call of a tool. What was said, the arguments and the result, is kept nowhere."""

    id: str
    """Ids grow with the time at which calls ended."""
    ended_at: Moment
    mcp_id: UUID
    slug: str
    tool: str
    replica_id: UUID | None
    """The replica that was asked last; None: no replica was."""
    user_id: UUID | None
    """None: the MCP is public, and the caller had no credential; or the platform itself called."""
    username: str | None = None
    """None where there is no account, or none any more."""
    credential: str
    """`session:<id>`, `key:<id>`, `public` or `platform`."""
    via: Via
    outcome: Outcome
    duration_ms: float
    request_id: str
    error_code: str | None = None
    """What kept it from a good result: a code of the platform's own errors, or the number of the JSON-RPC
    error by which the server refused it; None where it went well, or the caller left."""


class CallFilter(Contract):
    """Which calls are wanted; what is None does not matter."""

    mcp: str | None = None
    """An MCP's id or slug."""
    tool: str | None = None
    user: str | None = None
    """An account's id or name."""
    outcome: Outcome | None = None
    since: Moment | None = None
    until: Moment | None = None
    """Up to here, exclusive."""
    visible_to: UUID | None = None
    """Only this account's calls, and those of the MCPs that it registered."""
    mcp_ids: frozenset[UUID] | None = None
    """Only of these MCPs."""


class ToolCount(Contract):
    """The calls of one minute that one tool of one MCP got."""

    mcp_id: UUID
    tool: str
    minute: int
    """Its beginning, in seconds since 1970."""
    requests: int
    errors: int
    latency_ms: float
    histogram: dict[int, int]
