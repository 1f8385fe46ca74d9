"""Registered MCPs and their history."""

import builtins
from collections.abc import Collection, Sequence
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Select, and_, delete, exists, func, insert, select, update

from mcp_platform.contracts.mcps import (
    ChangeType,
    Mcp,
    McpConfig,
    McpFilter,
    McpOrder,
    McpVersion,
    TagCount,
)
from mcp_platform.contracts.tasks import FINAL_STATES
from mcp_platform.errors import Conflict, NotFound
from storage.sql.engine import SessionT, WriteSession
from storage.sql.repository import Page, Repository, changed_rows, inserted
from storage.sql.tables import DeploymentRow, McpRow, McpTagRow, McpVersionRow, RevisionRow, TaskRow

_FIELDS: Final = ("name", "description", "status", "tags")
_LONGEST_SLUG: Final = 100

DELETION_IS_OPEN: Final = exists().where(
    TaskRow.task_id == McpRow.deletion_task_id, TaskRow.status.not_in(FINAL_STATES)
)
"""An MCP is being deleted for as long as the task that does it is open: one that is lost is settled."""


class McpRepository(Repository[SessionT]):
    """MCPs. Each change raises the revision by one and leaves an entry in the history."""

    async def add(
        self: "McpRepository[WriteSession]",
        mcp: Mcp,
        changed_by: UUID,
        config: McpConfig | None = None,
        origin: str | None = None,
    ) -> None:
        """Add an MCP and the first entry of its history; its tools in `config` can be searched.

        Raises:
            Conflict: The slug is taken.
        """
        values = mcp.model_dump(exclude={"tags"}) | {"search_text": _search_text(mcp, config)}
        if not await inserted(self._session, insert(McpRow).values(values)):
            raise Conflict(
                f"An MCP with the slug {mcp.slug!r} exists already", resource_type="mcp_tool", slug=mcp.slug
            )
        await self._tag(mcp)
        await self._record(mcp, changed_by, "create", origin)

    async def get(self, mcp_id: UUID) -> Mcp | None:
        """Find the MCP with this id."""
        return await self._one(McpRow.id == mcp_id)

    async def get_by_slug(self, slug: str) -> Mcp | None:
        """Find the MCP with this slug."""
        return await self._one(McpRow.slug == slug)

    async def free_slug(self, wanted: str) -> str:
        """Give this slug, or the next one like it that no MCP has."""
        stem = wanted[: _LONGEST_SLUG - 9].rstrip("-")
        names = [wanted, *(f"{stem}-{number}" for number in range(2, 50))]
        taken = set(await self._session.scalars(select(McpRow.slug).where(McpRow.slug.in_(names))))
        return next((name for name in names if name not in taken), f"{stem}-{uuid4().hex[:8]}")

    async def list(
        self,
        wanted: McpFilter = McpFilter(),
        *,
        page: int,
        page_size: int,
        sort: McpOrder | None = None,
        ascending: bool = False,
    ) -> Page[Mcp]:
        """List one page; unless sorted otherwise newest first, in a search names that match before all."""
        query = select(McpRow).where(*_conditions(wanted))
        rows, total = await self._rows(_ordered(query, wanted, sort, ascending), page, page_size)
        return Page(await self._with_tags(rows), total)

    async def walk(self, author_id: UUID | None, after: UUID | None, limit: int) -> builtins.list[Mcp]:
        """List MCPs by id from behind `after` on, of one author or of everybody."""
        query = select(McpRow).order_by(McpRow.id).limit(limit)
        if author_id is not None:
            query = query.where(McpRow.author_id == author_id)
        if after is not None:
            query = query.where(McpRow.id > after)
        return await self._with_tags(list(await self._session.scalars(query)))

    async def tags(self, ids: Collection[UUID] | None = None) -> builtins.list[TagCount]:
        """Count the MCPs of each tag, of these MCPs or of all."""
        query = select(McpTagRow.tag, func.count()).group_by(McpTagRow.tag).order_by(McpTagRow.tag)
        if ids is not None:
            query = query.where(McpTagRow.mcp_id.in_(ids))
        return [TagCount(tag=tag, count=count) for tag, count in await self._session.execute(query)]

    async def update(
        self: "McpRepository[WriteSession]",
        mcp: Mcp,
        expected_revision: int,
        changed_by: UUID,
        config: McpConfig | None = None,
        change: ChangeType = "update",
        origin: str | None = None,
    ) -> None:
        """Replace revision `expected_revision` by the given one, which is the next.

        Raises:
            Conflict: Somebody else was first.
            NotFound: The MCP is gone.
        """
        values = mcp.model_dump(exclude={"id", "author_id", "created_at", "tags"})
        compare_and_set = (
            update(McpRow)
            .where(McpRow.id == mcp.id, McpRow.revision == expected_revision)
            .values(values | {"search_text": _search_text(mcp, config)})
        )
        if await changed_rows(self._session, compare_and_set):
            await self._session.execute(delete(McpTagRow).where(McpTagRow.mcp_id == mcp.id))
            await self._tag(mcp)
            await self._record(mcp, changed_by, change, origin)
        elif await self.get(mcp.id) is None:
            raise NotFound("mcp_tool", mcp.id)
        else:
            raise Conflict(
                "The MCP was changed by somebody else in the meantime; read it again and repeat the change",
                resource_type="mcp_tool",
                resource_id=str(mcp.id),
            )

    async def history(self, mcp_id: UUID, page: int = 1, page_size: int = 1000) -> Page[McpVersion]:
        """List one page of the revisions, newest first."""
        query = (
            select(McpVersionRow)
            .where(McpVersionRow.mcp_id == mcp_id)
            .order_by(McpVersionRow.revision.desc())
        )
        rows, total = await self._rows(query, page, page_size)
        return Page([_version(row) for row in rows], total)

    async def revision(self, mcp_id: UUID, name: int | str) -> McpVersion | None:
        """Find a revision by its number, or the newest one of a version."""
        named = McpVersionRow.revision == name if isinstance(name, int) else McpVersionRow.version == name
        query = select(McpVersionRow).where(McpVersionRow.mcp_id == mcp_id, named)
        row = await self._session.scalar(query.order_by(McpVersionRow.revision.desc()).limit(1))
        return _version(row) if row else None

    async def begin_deletion(self: "McpRepository[WriteSession]", mcp_id: UUID, task_id: str) -> str | None:
        """Mark a deployed MCP as being deleted: no deployment of it begins from now on.

        Returns the task that deletes it, an earlier one if that is open; None when nothing is deployed.

        Raises:
            NotFound: The MCP is gone.
        """
        locked = select(McpRow.id).where(McpRow.id == mcp_id).with_for_update()
        if await self._session.scalar(locked) is None:
            raise NotFound("mcp_tool", mcp_id)
        if await self.deployed(mcp_id) is None:
            return None
        open_task = select(McpRow.deletion_task_id).where(McpRow.id == mcp_id, DELETION_IS_OPEN)
        if under_way := await self._session.scalar(open_task):
            return under_way
        await self._session.execute(
            update(McpRow).where(McpRow.id == mcp_id).values(deletion_task_id=task_id)
        )
        return task_id

    async def being_deleted(self, mcp_id: UUID) -> str | None:
        """Find the task that deletes an MCP at this moment."""
        query = select(McpRow.deletion_task_id).where(McpRow.id == mcp_id, DELETION_IS_OPEN)
        return await self._session.scalar(query)

    async def deployed(self, mcp_id: UUID) -> UUID | None:
        """Find the MCP's deployment that is not stopped."""
        active = (DeploymentRow.mcp_id == mcp_id) & DeploymentRow.active_slug.is_not(None)
        return await self._session.scalar(select(DeploymentRow.id).where(active).limit(1))

    async def delete(self: "McpRepository[WriteSession]", mcp_id: UUID) -> bool:
        """Remove an MCP with its history; false when there is none.

        Raises:
            Conflict: It is deployed.
        """
        # The lock holds off a deployment that is just being added; it takes the same one.
        await self._session.execute(select(McpRow.id).where(McpRow.id == mcp_id).with_for_update())
        deployment_id = await self.deployed(mcp_id)
        if deployment_id is not None:
            raise Conflict(
                f"The MCP is deployed; stop its deployment {deployment_id} first, or repeat with force=true",
                resource_type="mcp_tool",
                resource_id=str(mcp_id),
                deployment_id=str(deployment_id),
            )
        return await changed_rows(self._session, delete(McpRow).where(McpRow.id == mcp_id)) == 1

    async def used_configs(self, keys: Collection[str]) -> set[str]:
        """Find which of these configurations a version or a deployment points to."""
        versions = select(McpVersionRow.config_key).where(McpVersionRow.config_key.in_(keys))
        deployments = select(DeploymentRow.config_key).where(DeploymentRow.config_key.in_(keys))
        revisions = select(RevisionRow.config_key).where(RevisionRow.config_key.in_(keys))
        return set(await self._session.scalars(versions.union(deployments, revisions)))

    async def _one(self, condition: ColumnElement[bool]) -> Mcp | None:
        row = await self._session.scalar(select(McpRow).where(condition))
        return (await self._with_tags([row]))[0] if row else None

    async def _with_tags(self, rows: Sequence[McpRow]) -> builtins.list[Mcp]:
        tags: dict[UUID, builtins.list[str]] = {row.id: [] for row in rows}
        if tags:
            query = select(McpTagRow).where(McpTagRow.mcp_id.in_(tags)).order_by(McpTagRow.tag)
            for each in await self._session.scalars(query):
                tags[each.mcp_id].append(each.tag)
        return [
            Mcp.model_validate(row, from_attributes=True).model_copy(update={"tags": tags[row.id]})
            for row in rows
        ]

    async def _tag(self: "McpRepository[WriteSession]", mcp: Mcp) -> None:
        if mcp.tags:
            rows = [{"mcp_id": mcp.id, "tag": tag} for tag in mcp.tags]
            await self._session.execute(insert(McpTagRow).values(rows))

    async def _record(
        self: "McpRepository[WriteSession]",
        mcp: Mcp,
        changed_by: UUID,
        change: ChangeType,
        origin: str | None,
    ) -> None:
        entry = insert(McpVersionRow).values(
            mcp_id=mcp.id,
            revision=mcp.revision,
            version=mcp.version,
            changed_at=mcp.updated_at,
            changed_by=changed_by,
            change_type=change,
            config_key=mcp.config_key,
            fields=mcp.model_dump(mode="json", include=set(_FIELDS)),
            origin=origin,
        )
        await self._session.execute(entry)


def _version(row: McpVersionRow) -> McpVersion:
    return McpVersion.model_validate(row, from_attributes=True)


def _search_text(mcp: Mcp, config: McpConfig | None) -> str:
    tools = config.tools if config else []
    lines = [mcp.name.replace("\n", " "), mcp.slug, mcp.description, *mcp.tags]
    return "\n".join([*lines, *(f"{tool.name}\n{tool.description}" for tool in tools)]).lower()


def _words(search: str | None) -> list[str]:
    return list(dict.fromkeys((search or "").lower().split()))


def _conditions(wanted: McpFilter) -> list[ColumnElement[bool]]:
    found = [McpRow.search_text.contains(word, autoescape=True) for word in _words(wanted.search)]
    if wanted.status is not None:
        found.append(McpRow.status == wanted.status)
    if wanted.author_id is not None:
        found.append(McpRow.author_id == wanted.author_id)
    if wanted.ids is not None:
        found.append(McpRow.id.in_(wanted.ids))
    for tag in wanted.tags:
        found.append(McpRow.id.in_(select(McpTagRow.mcp_id).where(McpTagRow.tag == tag)))
    return found


def _ordered(query: Select[Any], wanted: McpFilter, sort: McpOrder | None, ascending: bool) -> Select[Any]:
    """Sort; ids decide between equals, so that pages neither overlap nor leave gaps."""
    columns = {
        # Its first line is the name in lower case.
        McpOrder.NAME: McpRow.search_text,
        McpOrder.SLUG: McpRow.slug,
        McpOrder.UPDATED: McpRow.updated_at,
    }
    column = columns.get(sort, McpRow.created_at) if sort else McpRow.created_at
    words = _words(wanted.search)
    if words and sort is None:
        name_ends = func.instr(McpRow.search_text, "\n")
        query = query.order_by(
            and_(*(func.instr(McpRow.search_text, word) < name_ends for word in words)).desc()
        )
    key = (column.asc(), McpRow.id.asc()) if ascending else (column.desc(), McpRow.id.desc())
    return query.order_by(*key)
