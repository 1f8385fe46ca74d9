"""What governs MCPs at the gateway: policies, and pinned definitions of tools."""

import builtins
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import ColumnElement, Select, delete, insert, select, update

from mcp_platform.contracts.policies import Governance, McpPolicy, Pin, StoredPolicy
from mcp_platform.errors import NotFound
from storage.sql.engine import SessionT, WriteSession
from storage.sql.repository import Repository, changed_rows, inserted
from storage.sql.tables import ApiKeyRow, GroupRow, McpPolicyRow, McpRow, ToolPinRow, UserRow


class PolicyRepository(Repository[SessionT]):
    """Policies and pins by MCP; they go with it."""

    async def get(self, mcp_id: UUID) -> StoredPolicy:
        """Find an MCP's policy, the default where none was given."""
        row = await self._session.scalar(select(McpPolicyRow).where(McpPolicyRow.mcp_id == mcp_id))
        return StoredPolicy.model_validate(row, from_attributes=True) if row else StoredPolicy(mcp_id=mcp_id)

    async def locked(self: "PolicyRepository[WriteSession]", mcp_id: UUID) -> StoredPolicy:
        """Find an MCP's policy, and hold off everybody else who changes it.

        Raises:
            NotFound: The MCP is gone.
        """
        locked = select(McpRow.id).where(McpRow.id == mcp_id).with_for_update()
        if await self._session.scalar(locked) is None:
            raise NotFound("mcp_tool", mcp_id)
        return await self.get(mcp_id)

    async def put(self: "PolicyRepository[WriteSession]", stored: StoredPolicy) -> None:
        """Write a policy, which the caller has locked."""
        values = stored.model_dump() | {"policy": stored.policy.model_dump(mode="json")}
        replaced = update(McpPolicyRow).where(McpPolicyRow.mcp_id == stored.mcp_id).values(values)
        if not await changed_rows(self._session, replaced):
            await self._session.execute(insert(McpPolicyRow).values(values))

    async def governance(self, mcp_id: UUID | None = None) -> builtins.list[Governance]:
        """List what the gateway must know: of one MCP, or of all that have more than the default."""
        policies, pins = select(McpPolicyRow), select(ToolPinRow)
        if mcp_id is not None:
            policies = policies.where(McpPolicyRow.mcp_id == mcp_id)
            pins = pins.where(ToolPinRow.mcp_id == mcp_id)
        found = {
            row.mcp_id: Governance(mcp_id=row.mcp_id, policy=_understood(row.policy))
            for row in await self._session.scalars(policies)
        }
        pinned: dict[UUID, builtins.list[Pin]] = {}
        # In one order, so that what has not changed is equal however it was asked for.
        for pin in await self._session.scalars(pins.order_by(ToolPinRow.mcp_id, ToolPinRow.tool)):
            pinned.setdefault(pin.mcp_id, []).append(_pin(pin))
        for number, of_one in pinned.items():
            known = found.get(number, Governance(mcp_id=number))
            found[number] = known.model_copy(update={"pins": of_one})
        return list(found.values())

    async def pins(self, mcp_id: UUID) -> builtins.list[Pin]:
        """List an MCP's pins by tool."""
        query = select(ToolPinRow).where(ToolPinRow.mcp_id == mcp_id).order_by(ToolPinRow.tool)
        return [_pin(row) for row in await self._session.scalars(query)]

    async def pin(self, mcp_id: UUID, tool: str) -> Pin | None:
        """Find the pin of one tool."""
        row = await self._session.scalar(select(ToolPinRow).where(*_of(mcp_id, tool)))
        return _pin(row) if row else None

    async def add_pins(self: "PolicyRepository[WriteSession]", pins: Sequence[Pin]) -> None:
        """Pin tools; those that are pinned already stay as they are."""
        for pin in pins:
            await inserted(self._session, insert(ToolPinRow).values(pin.model_dump()))

    async def unknown_users(self, ids: Collection[UUID]) -> set[UUID]:
        """Tell which of these are no accounts."""
        return await self._unknown(select(UserRow.id).where(UserRow.id.in_(ids)), ids)

    async def unknown_groups(self, ids: Collection[UUID]) -> set[UUID]:
        """Tell which of these are no groups."""
        return await self._unknown(select(GroupRow.id).where(GroupRow.id.in_(ids)), ids)

    async def unknown_keys(self, ids: Collection[UUID]) -> set[UUID]:
        """Tell which of these are no API keys, or were revoked."""
        query = select(ApiKeyRow.id).where(ApiKeyRow.id.in_(ids), ApiKeyRow.revoked_at.is_(None))
        return await self._unknown(query, ids)

    async def _unknown(self, query: Select[UUID], ids: Collection[UUID]) -> set[UUID]:
        return set(ids) - set(await self._session.scalars(query)) if ids else set()

    async def unpin(self: "PolicyRepository[WriteSession]", mcp_id: UUID, tool: str) -> bool:
        """Remove a pin; false when there is none."""
        return bool(await changed_rows(self._session, delete(ToolPinRow).where(*_of(mcp_id, tool))))

    async def quarantine(
        self: "PolicyRepository[WriteSession]",
        pin: Pin,
        digest: str,
        definition: dict[str, Any],
        now: datetime,
    ) -> bool:
        """Record that another definition of a pinned tool was seen; false when that is known, or settled.

        Where an undecided change is known the first one that was seen stays: it is what is shown.
        """
        seen = (
            update(ToolPinRow)
            .where(
                *_of(pin.mcp_id, pin.tool),
                ToolPinRow.digest == pin.digest,
                ToolPinRow.decisions == pin.decisions,
                ToolPinRow.changed_digest.is_(None),
            )
            .values(changed_digest=digest, changed_definition=definition, changed_at=now)
        )
        return bool(await changed_rows(self._session, seen))

    async def accept(
        self: "PolicyRepository[WriteSession]", mcp_id: UUID, tool: str, digest: str, by: UUID, now: datetime
    ) -> bool:
        """Pin the changed definition instead; false when the one that is recorded is another.

        What was pinned stays in its place: replicas may offer it until a roll-out is done.
        """
        pin = await self.pin(mcp_id, tool)
        if pin is None or pin.changed_digest != digest:
            return False
        values = _SETTLED | {
            "digest": digest,
            "definition": pin.changed_definition,
            "changed_definition": pin.definition,
            "pinned_by": by,
            "pinned_at": now,
        }
        present = (ToolPinRow.digest == pin.digest, ToolPinRow.changed_digest == digest)
        accepted = update(ToolPinRow).where(*_of(mcp_id, tool), *present).values(values)
        return bool(await changed_rows(self._session, accepted))

    async def reject(self: "PolicyRepository[WriteSession]", mcp_id: UUID, tool: str, digest: str) -> bool:
        """Forget the changed definition; false when the one that is recorded is another."""
        where = (*_of(mcp_id, tool), ToolPinRow.changed_digest == digest)
        return bool(await changed_rows(self._session, update(ToolPinRow).where(*where).values(**_SETTLED)))


_SETTLED: dict[str, Any] = {
    "changed_digest": None,
    "changed_definition": None,
    "changed_at": None,
    # A gateway that missed the quarantine sees by it that there was one, and looks again.
    "decisions": ToolPinRow.decisions + 1,
}


def _of(mcp_id: UUID, tool: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return ToolPinRow.mcp_id == mcp_id, ToolPinRow.tool == tool


def _pin(row: ToolPinRow) -> Pin:
    return Pin.model_validate(row, from_attributes=True)


def _understood(policy: dict[str, Any]) -> McpPolicy | None:
    try:
        return McpPolicy.model_validate(policy)
    except ValidationError:
        return None
