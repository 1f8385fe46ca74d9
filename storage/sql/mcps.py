"""Registered MCPs and their history."""

import builtins
from collections.abc import Collection
from typing import Literal
from uuid import UUID

from sqlalchemy import delete, insert, select, update

from mcp_platform.contracts.mcps import Mcp, McpStatus, McpVersion
from mcp_platform.errors import Conflict, NotFound
from storage.sql.engine import SessionT, WriteSession
from storage.sql.repository import Page, Repository, changed_rows, inserted
from storage.sql.tables import DeploymentRow, McpRow, McpVersionRow


class McpRepository(Repository[SessionT]):
    """MCPs. Each change raises the revision by one and leaves an entry in the history."""

    async def add(self: "McpRepository[WriteSession]", mcp: Mcp, changed_by: UUID) -> None:
        """Add an MCP and the first entry of its history.

        Raises:
            Conflict: The slug is taken.
        """
        values = mcp.model_dump() | {"search_text": _search_text(mcp)}
        if not await inserted(self._session, insert(McpRow).values(values)):
            raise Conflict(
                f"An MCP with the slug {mcp.slug!r} exists already", resource_type="mcp_tool", slug=mcp.slug
            )
        await self._record(mcp, changed_by, "create")

    async def get(self, mcp_id: UUID) -> Mcp | None:
        """Find the MCP with this id."""
        row = await self._session.scalar(select(McpRow).where(McpRow.id == mcp_id))
        return _mcp(row) if row else None

    async def get_by_slug(self, slug: str) -> Mcp | None:
        """Find the MCP with this slug."""
        row = await self._session.scalar(select(McpRow).where(McpRow.slug == slug))
        return _mcp(row) if row else None

    async def list(
        self, *, page: int, page_size: int, status: McpStatus | None = None, search: str | None = None
    ) -> Page[Mcp]:
        """List one page, newest first; `search` looks in name, slug and description, in whatever case."""
        query = select(McpRow).order_by(McpRow.created_at.desc(), McpRow.id.desc())
        if status is not None:
            query = query.where(McpRow.status == status)
        if search:
            query = query.where(McpRow.search_text.contains(search.lower(), autoescape=True))
        rows, total = await self._rows(query, page, page_size)
        return Page([_mcp(row) for row in rows], total)

    async def update(
        self: "McpRepository[WriteSession]", mcp: Mcp, expected_revision: int, changed_by: UUID
    ) -> None:
        """Replace revision `expected_revision` by the given one, which is the next.

        Raises:
            Conflict: Somebody else was first.
            NotFound: The MCP is gone.
        """
        values = mcp.model_dump(exclude={"id", "author_id", "created_at"})
        compare_and_set = (
            update(McpRow)
            .where(McpRow.id == mcp.id, McpRow.revision == expected_revision)
            .values(values | {"search_text": _search_text(mcp)})
        )
        if await changed_rows(self._session, compare_and_set):
            await self._record(mcp, changed_by, "update")
        elif await self.get(mcp.id) is None:
            raise NotFound("mcp_tool", mcp.id)
        else:
            raise Conflict(
                "The MCP was changed by somebody else in the meantime; read it again and repeat the change",
                resource_type="mcp_tool",
                resource_id=str(mcp.id),
            )

    async def history(self, mcp_id: UUID) -> builtins.list[McpVersion]:
        """List all revisions, newest first."""
        query = (
            select(McpVersionRow)
            .where(McpVersionRow.mcp_id == mcp_id)
            .order_by(McpVersionRow.revision.desc())
        )
        rows = await self._session.scalars(query)
        return [McpVersion.model_validate(row, from_attributes=True) for row in rows]

    async def delete(self: "McpRepository[WriteSession]", mcp_id: UUID) -> bool:
        """Remove an MCP with its history; false when there is none.

        Raises:
            Conflict: It is deployed.
        """
        # The lock holds off a deployment that is just being added; it takes the same one.
        await self._session.execute(select(McpRow.id).where(McpRow.id == mcp_id).with_for_update())
        deployed = select(DeploymentRow.id).where(
            DeploymentRow.mcp_id == mcp_id, DeploymentRow.active_slug.is_not(None)
        )
        deployment_id = await self._session.scalar(deployed.limit(1))
        if deployment_id is not None:
            raise Conflict(
                "The MCP is deployed; stop its deployment first",
                resource_type="mcp_tool",
                resource_id=str(mcp_id),
                deployment_id=str(deployment_id),
            )
        return await changed_rows(self._session, delete(McpRow).where(McpRow.id == mcp_id)) == 1

    async def used_configs(self, keys: Collection[str]) -> set[str]:
        """Find which of these configurations a version or a deployment points to."""
        versions = select(McpVersionRow.config_key).where(McpVersionRow.config_key.in_(keys))
        deployments = select(DeploymentRow.config_key).where(DeploymentRow.config_key.in_(keys))
        return set(await self._session.scalars(versions.union(deployments)))

    async def _record(
        self: "McpRepository[WriteSession]", mcp: Mcp, changed_by: UUID, change: Literal["create", "update"]
    ) -> None:
        entry = insert(McpVersionRow).values(
            mcp_id=mcp.id,
            revision=mcp.revision,
            version=mcp.version,
            changed_at=mcp.updated_at,
            changed_by=changed_by,
            change_type=change,
            config_key=mcp.config_key,
        )
        await self._session.execute(entry)


def _mcp(row: McpRow) -> Mcp:
    return Mcp.model_validate(row, from_attributes=True)


def _search_text(mcp: Mcp) -> str:
    return "\n".join((mcp.name, mcp.slug, mcp.description)).lower()
