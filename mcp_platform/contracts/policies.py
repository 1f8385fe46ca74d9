"""What governs one MCP at the gateway: who may call what, and what calls and their results must be."""

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import Field, StrictBool

from mcp_platform.contracts.access import RoleName
from mcp_platform.contracts.balancing import Balancing, CallLimits
from mcp_platform.contracts.base import Contract, Moment, Order

ToolName = Annotated[str, Field(min_length=1, max_length=255)]
ToolPattern = ToolName
"""A tool's name; `*` stands for any characters, none as well."""


_PINNED: Final = ("title", "description", "inputSchema", "outputSchema", "annotations")
"""What of a tool's definition is compared: all that a model or a client goes by."""


def definition_digest(definition: Mapping[str, Any]) -> str:
    """Give the digest of a tool's definition: the same for the same meaning, however it is written."""
    compared = {name: definition[name] for name in _PINNED if definition.get(name) is not None}
    return hashlib.sha256(json.dumps(compared, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class Access(StrEnum):
    """Who may reach an MCP at the gateway at all."""

    PRIVATE = "private"
    """Whoever has a credential that may call tools."""
    PUBLIC = "public"
    """Whoever finds the address, without a credential too."""


class ToolRule(Order):
    """Which tools some callers may call.

    It is for callers that any of `roles`, `users`, `groups` and `keys` names; for all where none of them
    is given, and `anonymous` is not.
    """

    roles: Annotated[list[RoleName], Field(max_length=100)] = []
    users: Annotated[list[UUID], Field(max_length=1000)] = []
    groups: Annotated[list[UUID], Field(max_length=1000)] = []
    keys: Annotated[list[UUID], Field(max_length=1000)] = []
    """Ids of API keys."""
    anonymous: StrictBool = False
    """Whether it is for callers without a credential, whom a public MCP has."""
    allow: Annotated[list[ToolPattern], Field(max_length=1000)] | None = None
    """The only tools that they may call, together with what other rules for them allow; None: no bound."""
    deny: Annotated[list[ToolPattern], Field(max_length=1000)] = []
    """Tools that they may not call, whatever any rule allows."""


class McpPolicy(Order):
    """The policy of one MCP, and the body of `PUT /mcps/{id}/policy`: what is left out is the default."""

    access: Access = Access.PRIVATE
    rules: Annotated[list[ToolRule], Field(max_length=200)] = []
    """Without any, all may call all tools."""
    check_arguments: StrictBool = True
    """Whether a call's arguments are held against the tool's `inputSchema` before the server sees them."""
    max_response_bytes: Annotated[int, Field(ge=1024, le=1_073_741_824)] | None = None
    """The largest result, as JSON; None: what the platform's settings say."""
    redact: StrictBool = False
    """Whether secrets in results are replaced by `[redacted]`."""
    advertise_oauth: StrictBool = False
    """Whether clients are told to sign in by OAuth; some stop sending API keys then."""
    limits: CallLimits = CallLimits()
    balancing: Balancing = Balancing()


class Pin(Contract):
    """A tool's definition as somebody found it good, and another one if some replica offers it."""

    mcp_id: UUID
    tool: str
    digest: str
    """Of what of the definition a model or a client goes by."""
    definition: dict[str, Any]
    pinned_by: UUID
    pinned_at: Moment
    changed_digest: str | None = None
    """Of the definition that was seen instead: the tool is quarantined."""
    changed_definition: dict[str, Any] | None = None
    """Without `changed_digest`: what was pinned before a change was accepted."""
    changed_at: Moment | None = None
    decisions: int = 0
    """How often somebody accepted or rejected a change: what was found before is settled then."""

    @property
    def former_digest(self) -> str | None:
        """Of what was pinned before: replicas may offer it until a roll-out is done."""
        former = None if self.quarantined else self.changed_definition
        return None if former is None else definition_digest(former)

    @property
    def quarantined(self) -> bool:
        """Whether another definition was seen, and nobody has decided about it."""
        return self.changed_digest is not None


class StoredPolicy(Contract):
    """A policy as it is kept; revision 0 is the default, of which there is no record."""

    mcp_id: UUID
    revision: int = 0
    policy: McpPolicy = McpPolicy()
    updated_at: Moment | None = None
    updated_by: UUID | None = None


class Governance(Contract):
    """All that the gateway must know of one MCP's policy."""

    mcp_id: UUID
    policy: McpPolicy | None = McpPolicy()
    """None: it cannot be understood here, as when a newer release wrote it; nothing may be called then."""
    pins: list[Pin] = []


class Offer(Contract):
    """What the servers of an MCP offer at one moment, as a gateway found out."""

    tools: dict[str, dict[str, Any]] = {}
    """Definitions by name, as one of its replicas gave them."""
    differing: list[str] = []
    """Tools that not all of its replicas define alike, or have."""
    problem: str | None = None
    """Why no replica could be asked."""


class PinOrder(Order):
    """Body of `POST /mcps/{id}/policy/pins`."""

    tools: Annotated[list[ToolName], Field(min_length=1, max_length=1000)] | None = None
    """Which tools' present definitions; None: those of all tools that the server has now."""


class PinDecision(Order):
    """Body of `POST /mcps/{id}/policy/pins/{tool}/accept` and `…/reject`."""

    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Of the changed definition that was shown: it alone is decided about."""
