"""The catalogue as a registry shows it: versions of published MCPs, in a fixed order."""

import builtins
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, and_, func, or_, select

from mcp_platform.contracts.mcps import McpStatus, McpVersion, PublishedVersion
from storage.sql.engine import SessionT
from storage.sql.repository import Repository
from storage.sql.tables import McpRow, McpVersionRow

PUBLISHED = (McpStatus.ACTIVE, McpStatus.DEPRECATED)


class RegistryRepository(Repository[SessionT]):
    """Published MCPs. Of revisions with one version number only the newest is shown."""

    async def list(
        self,
        *,
        limit: int,
        after: tuple[str, int] | None = None,
        version: str | None = None,
        search: str | None = None,
        updated_since: datetime | None = None,
        ids: frozenset[UUID] | None = None,
    ) -> builtins.list[PublishedVersion]:
        """List versions by slug, oldest first; `version` may be `latest`.

        Args:
            limit: How many at most.
            after: Slug and revision from behind which on.
            version: Only those of this number.
            search: A part of the slug.
            updated_since: Only those made at that moment or later.
            ids: The only MCPs that may be seen.
        """
        query = _versions().order_by(McpRow.slug, McpVersionRow.revision).limit(limit)
        if after is not None:
            slug, revision = after
            query = query.where(
                or_(McpRow.slug > slug, and_(McpRow.slug == slug, McpVersionRow.revision > revision))
            )
        if version == "latest":
            query = query.where(McpVersionRow.revision == McpRow.revision)
        elif version is not None:
            query = query.where(McpVersionRow.version == version)
        if search:
            query = query.where(McpRow.slug.contains(search, autoescape=True))
        if updated_since is not None:
            query = query.where(McpVersionRow.changed_at >= updated_since)
        if ids is not None:
            query = query.where(McpRow.id.in_(ids))
        return await self._published(query)

    async def versions(self, slug: str, ids: frozenset[UUID] | None) -> builtins.list[PublishedVersion]:
        """List the versions of one MCP, newest first."""
        query = _versions().where(McpRow.slug == slug).order_by(McpVersionRow.revision.desc()).limit(1000)
        if ids is not None:
            query = query.where(McpRow.id.in_(ids))
        return await self._published(query)

    async def _published(self, query: Select[McpRow, McpVersionRow]) -> builtins.list[PublishedVersion]:
        return [
            PublishedVersion(
                mcp_id=mcp.id,
                slug=mcp.slug,
                name=mcp.name,
                description=mcp.description,
                status=mcp.status,
                created_at=mcp.created_at,
                latest=version.revision == mcp.revision,
                entry=McpVersion.model_validate(version, from_attributes=True),
            )
            for mcp, version in await self._session.execute(query)
        ]


def _versions() -> Select[McpRow, McpVersionRow]:
    newest = (
        select(McpVersionRow.mcp_id, func.max(McpVersionRow.revision).label("revision"))
        .group_by(McpVersionRow.mcp_id, McpVersionRow.version)
        .subquery()
    )
    same = and_(McpVersionRow.mcp_id == newest.c.mcp_id, McpVersionRow.revision == newest.c.revision)
    return (
        select(McpRow, McpVersionRow)
        .join(McpVersionRow, McpVersionRow.mcp_id == McpRow.id)
        .join(newest, same)
        .where(McpRow.status.in_(PUBLISHED))
    )
