"""`/api/v1/groups`: accounts and MCPs that belong together, with one MCP endpoint for all they offer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Path, Query, Response, status

from api.dependencies import PartsDep, Requires
from api.parts import Parts
from api.v1.answers import Deleted, pages
from api.v1.mcps.lookup import find_mcp
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.base import Contract
from mcp_platform.contracts.groups import (
    MOST_MCPS,
    ChangeGroup,
    CreateGroup,
    Group,
    GroupMcp,
    GroupMember,
    GroupRole,
    GroupTools,
    PutGroupMcp,
    PutMember,
)
from mcp_platform.errors import Conflict, Forbidden, NotFound
from mcp_platform.names import Channel
from storage.sql.engine import WriteSession
from storage.stores import Rows

router = APIRouter(prefix="/groups", tags=["Groups"])

Reader = Annotated[Principal, Depends(Requires(Permission.GROUPS_READ))]
Writer = Annotated[Principal, Depends(Requires(Permission.GROUPS_WRITE))]
Caller = Annotated[Principal, Depends(Requires(Permission.TOOLS_CALL))]
GroupId = Annotated[UUID, Path(description="The group's id")]


_PATIENCE: Final = 10.0


class GroupDetails(Group):
    """A group with the address of its endpoint, its members and its MCPs."""

    endpoint: str
    members: list[GroupMember]
    mcps: list[GroupMcp]


class GroupPage(Contract):
    """One page of a list."""

    items: list[Group]
    total: int
    page: int
    page_size: int
    pages: int


class MemberList(Contract):
    """A group's members by name."""

    members: list[GroupMember]


class GroupMcpList(Contract):
    """A group's MCPs in the order in which they joined."""

    mcps: list[GroupMcp]


@router.post("", status_code=status.HTTP_201_CREATED)
async def create_group(order: CreateGroup, caller: Writer, parts: PartsDep) -> GroupDetails:
    """Make a group; whoever makes it owns it, and is its first member."""
    now = datetime.now(UTC)
    group = Group(
        id=uuid4(),
        name=order.name,
        display_name=order.display_name or order.name,
        description=order.description,
        owner_id=caller.user_id,
        settings=order.settings,
        created_at=now,
        updated_at=now,
    )
    async with parts.stores.write() as rows:
        await rows.groups.add(group)
        await rows.groups.put_member(group.id, caller.user_id, GroupRole.ADMIN, now)
        details = await _details(parts, rows, group, caller)
    await _tell(parts, group.id, caller.user_id)
    return details


@router.get("")
async def list_groups(
    caller: Reader,
    parts: PartsDep,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    page_size: Annotated[int, Query(ge=1, le=100)] = 20,
) -> GroupPage:
    """List the groups that one owns or is in, by name; with `groups:all` everybody's."""
    whose = None if Permission.GROUPS_ALL in caller.permissions else caller.user_id
    async with parts.stores.read() as rows:
        found = await rows.groups.list(whose, page=page, page_size=page_size)
    return GroupPage(
        items=found.items,
        total=found.total,
        page=page,
        page_size=page_size,
        pages=pages(found.total, page_size),
    )


@router.get("/{group_id}")
async def get_group(group_id: GroupId, caller: Reader, parts: PartsDep) -> GroupDetails:
    """Show a group with its members and MCPs."""
    async with parts.stores.read() as rows:
        group = await _find(rows, group_id, caller)
        return await _details(parts, rows, group, caller)


@router.patch("/{group_id}")
async def change_group(
    group_id: GroupId, order: ChangeGroup, caller: Writer, parts: PartsDep
) -> GroupDetails:
    """Change a group; under another name its endpoint has another address."""
    async with _changing(parts, group_id, caller) as (rows, group):
        given = {name: getattr(order, name) for name in order.model_fields_set}
        changed = group.model_copy(
            update={name: value for name, value in given.items() if value is not None}
            | {"updated_at": datetime.now(UTC)}
        )
        await rows.groups.change(changed)
        details = await _details(parts, rows, changed, caller)
    await _tell(parts, group_id)
    return details


@router.delete("/{group_id}")
async def delete_group(group_id: GroupId, caller: Writer, parts: PartsDep) -> Deleted:
    """Delete a group and its endpoint; its MCPs and accounts stay."""
    async with _changing(parts, group_id, caller) as (rows, group):
        if group.owner_id != caller.user_id and Permission.GROUPS_ALL not in caller.permissions:
            raise Forbidden(Permission.GROUPS_ALL, "Only its owner or an administrator may delete a group")
        members = await rows.groups.members(group_id)
        await rows.groups.delete(group_id)
    await _tell(parts, group_id, *(member.user_id for member in members))
    return Deleted(message="Group deleted successfully", id=group_id)


@router.get("/{group_id}/tools")
async def list_group_tools(group_id: GroupId, caller: Caller, parts: PartsDep) -> GroupTools:
    """Tell what the group's endpoint offers, MCP by MCP, and of which nothing can be had for now."""
    async with parts.stores.read() as rows:
        group = await _find(rows, group_id, caller)
    question = {"caller": caller.model_dump(mode="json"), "name": group.name}
    return GroupTools.model_validate(await parts.stores.questions.ask("groups.tools", question, _PATIENCE))


@router.get("/{group_id}/members")
async def list_members(group_id: GroupId, caller: Reader, parts: PartsDep) -> MemberList:
    """List a group's members by name."""
    async with parts.stores.read() as rows:
        await _find(rows, group_id, caller)
        return MemberList(members=await rows.groups.members(group_id))


@router.post("/{group_id}/members", responses={201: {"model": MemberList}})
async def put_member(
    group_id: GroupId, order: PutMember, caller: Writer, parts: PartsDep, response: Response
) -> MemberList:
    """Take an account into a group, or give a member another role."""
    async with _changing(parts, group_id, caller) as (rows, group):
        if await rows.users.get(order.user_id) is None:
            raise NotFound("user", order.user_id)
        if order.user_id == group.owner_id and order.role is not GroupRole.ADMIN:
            raise _owner_stays(group)
        new = await rows.groups.put_member(group_id, order.user_id, order.role, datetime.now(UTC))
        most = group.settings.max_members
        if new and await rows.groups.count_members(group_id) > most:
            raise Conflict(
                f"The group has {most} members, as many as its settings allow: raise max_members first",
                resource_type="group",
                resource_id=str(group_id),
            )
        members = await rows.groups.members(group_id)
    response.status_code = status.HTTP_201_CREATED if new else status.HTTP_200_OK
    await _tell(parts, group_id, order.user_id)
    return MemberList(members=members)


@router.delete("/{group_id}/members/{user_id}")
async def remove_member(group_id: GroupId, user_id: UUID, caller: Reader, parts: PartsDep) -> Deleted:
    """Take an account out of a group; anybody may leave, but for the owner."""
    async with parts.stores.write() as rows:
        group = await _find(rows, group_id, caller)
        if user_id != caller.user_id:
            await _check_may_change(rows, group, caller)
        if user_id == group.owner_id:
            raise _owner_stays(group)
        if not await rows.groups.remove_member(group_id, user_id):
            raise NotFound("group_member", user_id)
    await _tell(parts, group_id, user_id)
    return Deleted(message="The account is no member any more", id=user_id)


@router.get("/{group_id}/mcps")
async def list_group_mcps(group_id: GroupId, caller: Reader, parts: PartsDep) -> GroupMcpList:
    """List a group's MCPs in the order in which they joined."""
    async with parts.stores.read() as rows:
        await _find(rows, group_id, caller)
        return GroupMcpList(mcps=await _mcps(rows, group_id, caller))


@router.post("/{group_id}/mcps", responses={201: {"model": GroupMcpList}})
async def put_group_mcp(
    group_id: GroupId, order: PutGroupMcp, caller: Writer, parts: PartsDep, response: Response
) -> GroupMcpList:
    """Take an MCP into a group, or change what the group's endpoint lets be done with it."""
    mcp = await find_mcp(parts, order.mcp_id, caller)
    async with _changing(parts, group_id, caller) as (rows, _):
        new = await rows.groups.put_mcp(group_id, mcp.id, order.permissions, datetime.now(UTC))
        mcps = (await rows.groups.mcps([group_id])).get(group_id, [])
        if len(mcps) > MOST_MCPS:
            raise Conflict(
                f"The group has {MOST_MCPS} MCPs, as many as it may have: take one out first",
                resource_type="group",
                resource_id=str(group_id),
            )
    response.status_code = status.HTTP_201_CREATED if new else status.HTTP_200_OK
    await _tell(parts, group_id)
    return GroupMcpList(mcps=[each for each in mcps if caller.may_use(each.mcp_id)])


@router.delete("/{group_id}/mcps/{mcp_id}")
async def remove_group_mcp(group_id: GroupId, mcp_id: UUID, caller: Writer, parts: PartsDep) -> Deleted:
    """Take an MCP out of a group."""
    async with _changing(parts, group_id, caller) as (rows, _):
        if not await rows.groups.remove_mcp(group_id, mcp_id):
            raise NotFound("group_mcp", mcp_id)
    await _tell(parts, group_id)
    return Deleted(message="The MCP is not in the group any more", id=mcp_id)


async def _find(rows: Rows[Any], group_id: UUID, caller: Principal) -> Group:
    """Find a group that the caller may know of."""
    group = await rows.groups.get(group_id)
    if group is not None and (
        group.owner_id == caller.user_id
        or Permission.GROUPS_ALL in caller.permissions
        or await rows.groups.role_in(group_id, caller.user_id) is not None
    ):
        return group
    raise NotFound("group", group_id)


async def _check_may_change(rows: Rows[Any], group: Group, caller: Principal) -> None:
    if group.owner_id == caller.user_id or Permission.GROUPS_ALL in caller.permissions:
        return
    if await rows.groups.role_in(group.id, caller.user_id) is not GroupRole.ADMIN:
        raise Forbidden(
            Permission.GROUPS_ALL, "Only its owner, its admins or an administrator may change a group"
        )
    if Permission.GROUPS_WRITE not in caller.permissions:
        raise Forbidden(Permission.GROUPS_WRITE)


@asynccontextmanager
async def _changing(
    parts: Parts, group_id: UUID, caller: Principal
) -> AsyncIterator[tuple[Rows[WriteSession], Group]]:
    """Lock a group that the caller may change, for one transaction."""
    async with parts.stores.write() as rows:
        await rows.groups.lock(group_id)
        group = await _find(rows, group_id, caller)
        await _check_may_change(rows, group, caller)
        yield rows, group


async def _details(parts: Parts, rows: Rows[Any], group: Group, caller: Principal) -> GroupDetails:
    return GroupDetails(
        **group.model_dump(),
        endpoint=f"{parts.settings.gateway_url}/mcp/group/{group.name}",
        members=await rows.groups.members(group.id),
        mcps=await _mcps(rows, group.id, caller),
    )


async def _mcps(rows: Rows[Any], group_id: UUID, caller: Principal) -> list[GroupMcp]:
    found = (await rows.groups.mcps([group_id])).get(group_id, [])
    return [mcp for mcp in found if caller.may_use(mcp.mcp_id)]


async def _tell(parts: Parts, group_id: UUID, *accounts: UUID) -> None:
    """Tell the gateways, and that these accounts' credentials say something else now."""
    await parts.stores.publish(Channel.GROUPS, {"group_id": str(group_id)})
    for user_id in accounts:
        await parts.credentials.changed(user_id)


def _owner_stays(group: Group) -> Conflict:
    return Conflict(
        "The owner is an admin of the group as long as there is one: delete the group instead",
        resource_type="group",
        resource_id=str(group.id),
    )
