"""Groups: accounts and MCPs that belong together, and one MCP endpoint for what the MCPs offer."""

from enum import StrEnum
from typing import Annotated, Final
from uuid import UUID

from pydantic import AfterValidator, Field, StrictBool

from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.base import Contract, Moment, Order
from mcp_platform.names import RESERVED_SLUGS

MOST_MEMBERS: Final = 1_000
MOST_MCPS: Final = 100


class GroupRole(StrEnum):
    """What a member is in a group."""

    MEMBER = "member"
    """Uses the group's endpoint."""
    ADMIN = "admin"
    """Changes the group, its members and its MCPs, too."""


class GroupRight(StrEnum):
    """What a group's endpoint lets be done with one MCP."""

    READ = "read"
    """Prompts and resources."""
    EXECUTE = "execute"
    """Tools."""


def _free(name: str) -> str:
    if name in RESERVED_SLUGS:
        raise ValueError(f"{name!r} is reserved for a path of the platform; choose another name")
    return name


def _in_order(rights: list[GroupRight]) -> list[GroupRight]:
    return [right for right in GroupRight if right in rights]


GroupName = Annotated[str, Field(pattern=r"^[a-z0-9-]+$", max_length=64), AfterValidator(_free)]
DisplayName = Annotated[str, Field(max_length=255)]
Description = Annotated[str, Field(max_length=2_000)]
Rights = Annotated[list[GroupRight], Field(min_length=1, max_length=8), AfterValidator(_in_order)]


class GroupSettings(Order):
    """How a group is run."""

    max_members: Annotated[int, Field(ge=1, le=MOST_MEMBERS)] = MOST_MEMBERS
    advertise_oauth: StrictBool = False
    """Whether the endpoint's clients are told to sign in by OAuth; some stop sending API keys then."""


class CreateGroup(Order):
    """Body of `POST /groups`."""

    name: GroupName
    display_name: DisplayName = ""
    description: Description = ""
    settings: GroupSettings = GroupSettings()


class ChangeGroup(Order):
    """Body of `PATCH /groups/{id}`; what is left out stays."""

    name: GroupName | None = None
    display_name: DisplayName | None = None
    description: Description | None = None
    settings: GroupSettings | None = None


class PutMember(Order):
    """Body of `POST /groups/{id}/members`."""

    user_id: UUID
    role: GroupRole = GroupRole.MEMBER


class PutGroupMcp(Order):
    """Body of `POST /groups/{id}/mcps`."""

    mcp_id: UUID
    permissions: Rights = [GroupRight.READ, GroupRight.EXECUTE]


class Group(Contract):
    """A group, without what belongs to it."""

    id: UUID
    name: str
    display_name: str
    description: str
    owner_id: UUID
    settings: GroupSettings
    created_at: Moment
    updated_at: Moment


class GroupMember(Contract):
    """An account in a group."""

    user_id: UUID
    username: str
    role: GroupRole
    added_at: Moment


class GroupMcp(Contract):
    """An MCP in a group."""

    mcp_id: UUID
    slug: str
    permissions: list[GroupRight]
    added_at: Moment


class ListedTool(Contract):
    """A tool as a group's endpoint shows it."""

    name: str
    tool: str
    """Its name at the server."""
    description: str = ""


class MemberState(StrEnum):
    """How an MCP takes part in a group's endpoint at the moment."""

    LISTED = "listed"
    STALE = "stale"
    """It does not answer, and what it listed last is still shown."""
    LEFT_OUT = "left out"


class MemberTools(Contract):
    """What one MCP adds to a group's endpoint."""

    mcp_id: UUID
    slug: str
    state: MemberState
    detail: str | None = None
    """What is wrong, if anything is."""
    tools: list[ListedTool]


class GroupTools(Contract):
    """What a group's endpoint offers a caller, MCP by MCP."""

    mcps: list[MemberTools]


class GroupRoute(Contract):
    """A group as the gateway needs it; the MCPs in the order in which they joined."""

    id: UUID
    name: str
    display_name: str
    description: str
    owner_id: UUID
    mcps: list[GroupMcp]

    def admits(self, caller: Principal) -> bool:
        """Tell whether this caller may use the group's endpoint."""
        return (
            self.id in caller.group_ids
            or self.owner_id == caller.user_id
            or Permission.GROUPS_ALL in caller.permissions
        )
