"""Definitions held against the MCPs that there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from activities.github_sync.planning import Decision, Standing, bound_to, decide, new_mcp_id
from mcp_platform.contracts.access import Permission
from mcp_platform.contracts.github import ChangeOutcome, Connection, Definition
from mcp_platform.contracts.mcps import CreateMcp, Mcp, UpdateMcp
from mcp_platform.contracts.syncing import FoundDefinition

if TYPE_CHECKING:
    from storage.registration import Beside
    from storage.stores import Stores


class Registration(Protocol):
    """Registers MCPs and changes them, as `storage.registration` does."""

    async def register(
        self,
        stores: Stores,
        order: CreateMcp,
        author_id: UUID,
        *,
        mcp_id: UUID | None = None,
        origin: str | None = None,
        beside: Beside | None = None,
    ) -> Mcp:
        """Register a draft."""
        ...

    async def revise(
        self,
        stores: Stores,
        mcp: Mcp,
        order: UpdateMcp,
        changed_by: UUID,
        *,
        origin: str | None = None,
        beside: Beside | None = None,
    ) -> Mcp:
        """Change an MCP as it was read."""
        ...

    async def read_config(self, stores: Stores, key: str) -> dict[str, Any]:
        """Read a configuration as it was given."""
        ...


@dataclass(frozen=True)
class Case:
    """A definition, the MCP that it belongs to, and what becomes of it."""

    mcp_id: UUID
    mcp: Mcp | None
    row: Definition | None
    """How they were synced before."""
    decision: Decision


class Cases:
    """Judges the definitions of one connection, as its owner may change MCPs now.

    Args:
        stores: Where the MCPs are.
        registration: Reads configurations.
        connection: Whose definitions they are.
        permissions: Of its owner.
        force: Whether the repository's word counts whatever happened on the platform.
    """

    def __init__(
        self,
        stores: Stores,
        registration: Registration,
        connection: Connection,
        permissions: frozenset[Permission],
        *,
        force: bool,
    ) -> None:
        self._stores = stores
        self._registration = registration
        self._connection = connection
        self._permissions = permissions
        self._force = force

    async def matched(
        self, found: Sequence[FoundDefinition], known: Sequence[Definition]
    ) -> list[tuple[FoundDefinition, UUID]]:
        """Tell which MCP each definition belongs to, whether it is there already or will be."""
        tool_id = self._connection.tool_id
        matched: list[tuple[FoundDefinition, UUID]] = []
        async with self._stores.read() as rows:
            tool = await rows.mcps.get(tool_id) if tool_id is not None else None
            bound = bound_to(found, known, tool.id, tool.slug) if tool is not None else None
            for each in found:
                if tool is not None and each is bound:
                    matched.append((each, tool.id))
                    continue
                mcp = await rows.mcps.get_by_slug(each.slug)
                matched.append((each, mcp.id if mcp else new_mcp_id(self._connection.id, each.slug)))
        return matched

    async def judge(self, found: FoundDefinition, mcp_id: UUID) -> Case:
        """Decide what becomes of an MCP, as things are now."""
        async with self._stores.read() as rows:
            mcp = await rows.mcps.get(mcp_id)
            known = await rows.connections.definitions(self._connection.id)
            others = await rows.connections.of_mcp(mcp_id)
        row = next((each for each in known if each.mcp_id == mcp_id), None)
        if mcp is None:
            return Case(mcp_id, None, row, Decision(ChangeOutcome.ADDED))
        if refusal := self._refusal(mcp, others):
            return Case(mcp_id, mcp, row, Decision(ChangeOutcome.REFUSED, refusal, in_step=False))
        now = await self._now(mcp)
        base = await self._base(mcp_id, row.revision) if row is not None else None
        decision = decide(found, base, now, mcp.version, force=self._force)
        if row is None and mcp.id != self._connection.tool_id and not self._force:
            decision = _adopted(decision, mcp.slug)
        return Case(mcp_id, mcp, row, decision)

    def _refusal(self, mcp: Mcp, others: Sequence[Connection]) -> str | None:
        if mcp.author_id != self._connection.owner_id and Permission.MCPS_ALL not in self._permissions:
            return f"the slug {mcp.slug!r} is taken by an MCP of somebody else; choose another one"
        if any(each.id != self._connection.id for each in others):
            return "another connection keeps this MCP in step with a repository; one of them has to go"
        return None

    async def _now(self, mcp: Mcp) -> Standing:
        config = await self._registration.read_config(self._stores, mcp.config_key)
        return Standing(mcp.name, mcp.description, mcp.tags, config)

    async def _base(self, mcp_id: UUID, revision: int) -> Standing | None:
        async with self._stores.read() as rows:
            entry = await rows.mcps.revision(mcp_id, revision)
        if entry is None or entry.fields is None:
            return None
        config = await self._registration.read_config(self._stores, entry.config_key)
        fields = entry.fields
        return Standing(fields["name"], fields["description"], fields["tags"], config)


def _adopted(decision: Decision, slug: str) -> Decision:
    """Keep a definition from changing an MCP that was never of this repository."""
    if decision.outcome is not ChangeOutcome.CHANGED:
        return decision
    reason = (
        f"you have an MCP with the slug {slug!r} that was never in step with this repository, and differs:"
        " name it as the connection's tool_id, or take the repository's by a sync with {\"force\": true}"
    )
    return Decision(ChangeOutcome.REFUSED, reason, in_step=False)
