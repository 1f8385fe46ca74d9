"""Registering MCPs and changing them: the document first, then the row that points to it.

Routes do it for those who ask, activities for repositories and for results of tasks.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from pydantic import ValidationError

from mcp_platform.contracts.mcps import (
    CreateMcp,
    Mcp,
    McpConfig,
    McpStatus,
    UpdateMcp,
    next_patch,
    version_order,
)
from mcp_platform.errors import Conflict
from mcp_platform.names import Collection
from storage.drift import tell_mcp_drift
from storage.sql.engine import WriteSession
from storage.stores import Rows, Stores

FROM_REPOSITORY = "github:"
"""How the origin of a version begins that came from a repository."""

Beside = Callable[[Rows[WriteSession], Mcp], Awaitable[None]]
"""What is written in the same transaction as a revision of an MCP."""


def new_mcp(order: CreateMcp, author_id: UUID, mcp_id: UUID | None = None) -> Mcp:
    """Make a draft at its first revision."""
    now = datetime.now(UTC)
    return Mcp(
        id=mcp_id or uuid4(),
        name=order.name,
        slug=order.slug,
        description=order.description,
        version=order.version,
        author_id=author_id,
        status=McpStatus.DRAFT,
        config_key=str(uuid4()),
        revision=1,
        created_at=now,
        updated_at=now,
        tags=order.tags,
    )


async def register(
    stores: Stores,
    order: CreateMcp,
    author_id: UUID,
    *,
    mcp_id: UUID | None = None,
    origin: str | None = None,
    beside: Beside | None = None,
) -> Mcp:
    """Register a draft.

    Args:
        stores: Where to.
        order: What it is.
        author_id: Whose it is.
        mcp_id: The id it gets, so that doing it twice is done once.
        origin: The commit or the task that it came from.
        beside: What is written with it, or not at all.

    Raises:
        Conflict: The slug is taken.
    """
    if mcp_id is not None:
        async with stores.read() as rows:
            if known := await rows.mcps.get(mcp_id):
                return known
    mcp = new_mcp(order, author_id, mcp_id)
    await store_config(stores, mcp.config_key, order.config)
    async with stores.write() as rows:
        await rows.mcps.add(mcp, author_id, order.config, origin)
        if beside is not None:
            await beside(rows, mcp)
    return mcp


async def revise(
    stores: Stores,
    mcp: Mcp,
    order: UpdateMcp,
    changed_by: UUID,
    *,
    origin: str | None = None,
    beside: Beside | None = None,
) -> Mcp:
    """Change an MCP as it was read; a new configuration is a new version.

    What is to be written `beside` it is written with it, or neither is.

    Raises:
        Conflict: Somebody else was first, or the version that is asked for is no higher one.
        NotFound: The MCP is gone.
    """
    given = order.model_dump(include={"name", "description", "status", "tags"}, exclude_none=True)
    changed = mcp.model_copy(
        update={
            **given,
            "version": _next_version(mcp, order),
            "config_key": str(uuid4()) if order.config else mcp.config_key,
            "revision": mcp.revision + 1,
            "updated_at": datetime.now(UTC),
        }
    )
    if order.config:
        await store_config(stores, changed.config_key, order.config)
    config = order.config or await searchable_config(stores, mcp.config_key)
    async with stores.changing_mcp(mcp.id), stores.write() as rows:
        await rows.mcps.update(changed, mcp.revision, changed_by, config, origin=origin)
        if beside is not None:
            await beside(rows, changed)
    if not (origin or "").startswith(FROM_REPOSITORY):
        # What a sync writes is in step once the sync says so.
        await tell_mcp_drift(stores, mcp.id)
    return changed


async def read_config(stores: Stores, key: str) -> dict[str, Any]:
    """Read a configuration as it was given."""
    return await stores.documents.get(Collection.CONFIGS, key) or {}


async def store_config(stores: Stores, key: str, config: McpConfig) -> None:
    """Write the configuration as it was given, before any row points to it."""
    await stores.documents.put(Collection.CONFIGS, key, config.model_dump(mode="json", exclude_unset=True))


async def searchable_config(stores: Stores, key: str) -> McpConfig | None:
    """Read a configuration for the search; one that older rules let in and today's do not has no tools."""
    try:
        return McpConfig.model_validate(await read_config(stores, key))
    except ValidationError:
        return None


def _next_version(mcp: Mcp, order: UpdateMcp) -> str:
    if order.version is None:
        return mcp.version if order.config is None else next_patch(mcp.version)
    least = version_order(mcp.version)
    given = version_order(order.version)
    if given < least or (order.config is not None and given == least):
        raise Conflict(
            f"The version must be higher than the present one, {mcp.version}",
            resource_type="mcp_tool",
            resource_id=str(mcp.id),
            version=mcp.version,
        )
    return order.version
