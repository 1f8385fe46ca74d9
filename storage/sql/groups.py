"""Groups, who is in them, and which MCPs."""

import builtins
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, insert, or_, select, update

from mcp_platform.contracts.groups import (
    Group,
    GroupMcp,
    GroupMember,
    GroupRight,
    GroupRole,
    GroupRoute,
)
from mcp_platform.errors import Conflict
from storage.sql.engine import SessionT, WriteSession
from storage.sql.repository import Page, Repository, changed_rows, inserted
from storage.sql.tables import GroupMcpRow, GroupMemberRow, GroupRow, McpRow, UserRow


class GroupRepository(Repository[SessionT]):
    """Groups, their members and their MCPs."""

    async def add(self: "GroupRepository[WriteSession]", group: Group) -> None:
        """Add a group.

        Raises:
            Conflict: The name is taken.
        """
        if not await inserted(self._session, insert(GroupRow).values(group.model_dump(mode="python"))):
            raise _taken(group.name)

    async def change(self: "GroupRepository[WriteSession]", group: Group) -> None:
        """Write a group as it is now.

        Raises:
            Conflict: The name is taken.
        """
        other = select(GroupRow.id).where(GroupRow.name == group.name, GroupRow.id != group.id)
        if await self._session.scalar(other) is not None:
            raise _taken(group.name)
        values = group.model_dump(mode="python", exclude={"id", "owner_id", "created_at"})
        await self._session.execute(update(GroupRow).where(GroupRow.id == group.id).values(values))

    async def delete(self: "GroupRepository[WriteSession]", group_id: UUID) -> bool:
        """Remove a group with what belongs to it; false when there is none."""
        return bool(await changed_rows(self._session, delete(GroupRow).where(GroupRow.id == group_id)))

    async def get(self, group_id: UUID) -> Group | None:
        """Find the group with this id."""
        row = await self._session.scalar(select(GroupRow).where(GroupRow.id == group_id))
        return _group(row) if row else None

    async def lock(self: "GroupRepository[WriteSession]", group_id: UUID) -> Group | None:
        """Find a group, and keep others from changing it until this transaction ends."""
        query = select(GroupRow).where(GroupRow.id == group_id).with_for_update()
        row = await self._session.scalar(query.execution_options(populate_existing=True))
        return _group(row) if row else None

    async def list(self, of_user: UUID | None, *, page: int, page_size: int) -> Page[Group]:
        """List one page in the order of names; those that somebody owns or is in, or all."""
        query = select(GroupRow).order_by(GroupRow.name)
        if of_user is not None:
            theirs = select(GroupMemberRow.group_id).where(GroupMemberRow.user_id == of_user)
            query = query.where(or_(GroupRow.owner_id == of_user, GroupRow.id.in_(theirs)))
        rows, total = await self._rows(query, page, page_size)
        return Page([_group(row) for row in rows], total)

    async def role_in(self, group_id: UUID, user_id: UUID) -> GroupRole | None:
        """Tell what somebody is in a group; None if they are no member."""
        found = await self._session.scalar(
            select(GroupMemberRow.role).where(
                GroupMemberRow.group_id == group_id, GroupMemberRow.user_id == user_id
            )
        )
        return GroupRole(found) if found else None

    async def members(self, group_id: UUID) -> builtins.list[GroupMember]:
        """List a group's members by name."""
        query = (
            select(GroupMemberRow, UserRow.username)
            .join(UserRow, UserRow.id == GroupMemberRow.user_id)
            .where(GroupMemberRow.group_id == group_id)
            .order_by(UserRow.username_key)
        )
        return [
            GroupMember(user_id=row.user_id, username=name, role=GroupRole(row.role), added_at=row.added_at)
            for row, name in await self._session.execute(query)
        ]

    async def count_members(self, group_id: UUID) -> int:
        """Count a group's members."""
        query = select(func.count()).select_from(GroupMemberRow).where(GroupMemberRow.group_id == group_id)
        return await self._session.scalar(query) or 0

    async def put_member(
        self: "GroupRepository[WriteSession]", group_id: UUID, user_id: UUID, role: GroupRole, now: datetime
    ) -> bool:
        """Make somebody a member, or give a member another role; true if they were none before."""
        theirs = update(GroupMemberRow).where(
            GroupMemberRow.group_id == group_id, GroupMemberRow.user_id == user_id
        )
        if await changed_rows(self._session, theirs.values(role=role.value)):
            return False
        values = {"group_id": group_id, "user_id": user_id, "role": role.value, "added_at": now}
        return await inserted(self._session, insert(GroupMemberRow).values(values))

    async def remove_member(self: "GroupRepository[WriteSession]", group_id: UUID, user_id: UUID) -> bool:
        """Take somebody out of a group; false when they are not in it."""
        theirs = delete(GroupMemberRow).where(
            GroupMemberRow.group_id == group_id, GroupMemberRow.user_id == user_id
        )
        return bool(await changed_rows(self._session, theirs))

    async def put_mcp(
        self: "GroupRepository[WriteSession]",
        group_id: UUID,
        mcp_id: UUID,
        permissions: Sequence[GroupRight],
        now: datetime,
    ) -> bool:
        """Take an MCP into a group, or change what may be done with it; true if it is new there."""
        rights = [right.value for right in permissions]
        its = update(GroupMcpRow).where(GroupMcpRow.group_id == group_id, GroupMcpRow.mcp_id == mcp_id)
        if await changed_rows(self._session, its.values(permissions=rights)):
            return False
        values = {"group_id": group_id, "mcp_id": mcp_id, "permissions": rights, "added_at": now}
        return await inserted(self._session, insert(GroupMcpRow).values(values))

    async def remove_mcp(self: "GroupRepository[WriteSession]", group_id: UUID, mcp_id: UUID) -> bool:
        """Take an MCP out of a group; false when it is not in it."""
        its = delete(GroupMcpRow).where(GroupMcpRow.group_id == group_id, GroupMcpRow.mcp_id == mcp_id)
        return bool(await changed_rows(self._session, its))

    async def mcps(self, group_ids: Collection[UUID] | None = None) -> dict[UUID, builtins.list[GroupMcp]]:
        """List the MCPs of these groups, or of all, in the order in which they joined."""
        query = (
            select(GroupMcpRow, McpRow.slug)
            .join(McpRow, McpRow.id == GroupMcpRow.mcp_id)
            .order_by(GroupMcpRow.group_id, GroupMcpRow.added_at, McpRow.slug)
        )
        if group_ids is not None:
            query = query.where(GroupMcpRow.group_id.in_(group_ids))
        found: dict[UUID, builtins.list[GroupMcp]] = {}
        for row, slug in await self._session.execute(query):
            rights = [GroupRight(right) for right in row.permissions]
            mcp = GroupMcp(mcp_id=row.mcp_id, slug=slug, permissions=rights, added_at=row.added_at)
            found.setdefault(row.group_id, []).append(mcp)
        return found

    async def routes(self) -> builtins.list[GroupRoute]:
        """Give all groups as the gateway needs them."""
        rows = list(await self._session.scalars(select(GroupRow).order_by(GroupRow.name)))
        mcps = await self.mcps() if rows else {}
        return [
            GroupRoute.model_validate({**_group(row).model_dump(), "mcps": mcps.get(row.id, [])})
            for row in rows
        ]


def _group(row: Any) -> Group:
    return Group.model_validate(row, from_attributes=True)


def _taken(name: str) -> Conflict:
    return Conflict(f"There is a group {name!r} already", resource_type="group", resource_id=name)
