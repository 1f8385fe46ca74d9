"""The revisions of an MCP: what changed, and going back."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response

from api.dependencies import PartsDep
from api.v1.answers import pages
from api.v1.mcps.entries import McpChanged
from api.v1.mcps.lookup import (
    IfMatch,
    McpId,
    Reader,
    Writer,
    check_unchanged,
    etag,
    find_mcp,
    find_own_mcp,
    find_version,
)
from mcp_platform.contracts.base import Contract, Moment
from mcp_platform.contracts.mcps import RollBackMcp, next_patch
from mcp_platform.differences import Difference, differences
from mcp_platform.errors import Conflict
from mcp_platform.names import Collection
from storage.drift import tell_mcp_drift
from storage.registration import read_config, searchable_config

router = APIRouter(prefix="/mcps", tags=["MCPs"])

RevisionName = Annotated[str, Query(pattern=r"^(\d{1,9}|\d+\.\d+\.\d+)$", max_length=64)]
"""A version such as `1.0.0`, which means its newest revision, or the number of a revision."""


class HistoryEntry(Contract):
    """One revision of an MCP."""

    revision: int
    version: str
    changed_at: Moment
    changed_by: UUID
    change_type: str
    origin: str | None = None
    """The commit or the task that the change came from."""
    config: dict[str, Any]


class History(Contract):
    """Revisions, the newest first."""

    versions: list[HistoryEntry]
    total: int
    page: int
    page_size: int
    pages: int


class RevisionHead(Contract):
    """Which revision was compared."""

    revision: int
    version: str
    changed_at: Moment
    changed_by: UUID
    change_type: str


class HistoryDifference(Contract):
    """What differs between two revisions."""

    older: RevisionHead
    newer: RevisionHead
    fields: list[Difference]
    """In name, description, status and tags; empty where a revision is from before they were kept."""
    config: list[Difference]
    """In the configuration: the steps that lead from the one to the other."""


@router.get("/{mcp_id:uuid}/history")
async def get_history(
    mcp_id: McpId,
    caller: Reader,
    parts: PartsDep,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    page_size: Annotated[int, Query(ge=1, le=100)] = 50,
) -> History:
    """List revisions with their configurations, the newest first."""
    await find_mcp(parts, mcp_id, caller)
    async with parts.stores.read() as rows:
        found = await rows.mcps.history(mcp_id, page, page_size)
    keys = {entry.config_key for entry in found.items}
    configs = await parts.stores.documents.get_many(Collection.CONFIGS, list(keys))
    return History(
        versions=[
            HistoryEntry.model_validate({**entry.model_dump(), "config": configs.get(entry.config_key, {})})
            for entry in found.items
        ],
        total=found.total,
        page=page,
        page_size=page_size,
        pages=pages(found.total, page_size),
    )


@router.get("/{mcp_id:uuid}/history/diff", response_model_exclude_unset=True)
async def compare_revisions(
    mcp_id: McpId,
    caller: Reader,
    parts: PartsDep,
    older: Annotated[RevisionName, Query(alias="from", description="A version, or a revision's number")],
    newer: Annotated[RevisionName, Query(alias="to", description="A version, or a revision's number")],
) -> HistoryDifference:
    """Tell what differs between two revisions; a version stands for its newest revision."""
    await find_mcp(parts, mcp_id, caller)
    first, second = await find_version(parts, mcp_id, older), await find_version(parts, mcp_id, newer)
    before, after = (
        await read_config(parts.stores, first.config_key),
        await read_config(parts.stores, second.config_key),
    )
    known = first.fields is not None and second.fields is not None
    return HistoryDifference(
        older=RevisionHead.model_validate(first.model_dump()),
        newer=RevisionHead.model_validate(second.model_dump()),
        fields=list(differences(first.fields, second.fields)) if known else [],
        config=await asyncio.to_thread(lambda: list(differences(before, after))),
    )


@router.post("/{mcp_id:uuid}/rollback")
async def roll_back_mcp(
    mcp_id: McpId,
    order: RollBackMcp,
    caller: Writer,
    parts: PartsDep,
    response: Response,
    if_match: IfMatch = None,
) -> McpChanged:
    """Give an MCP the configuration of an earlier revision, as a new version; the rest stays as it is."""
    mcp = await find_own_mcp(parts, mcp_id, caller)
    check_unchanged(mcp, if_match)
    target = await find_version(parts, mcp_id, order.version or str(order.revision))
    if target.config_key == mcp.config_key:
        raise Conflict(
            "The MCP has this configuration already",
            resource_type="mcp_tool",
            resource_id=str(mcp_id),
            version=mcp.version,
        )
    changed = mcp.model_copy(
        update={
            "version": next_patch(mcp.version),
            "config_key": target.config_key,
            "revision": mcp.revision + 1,
            "updated_at": datetime.now(UTC),
        }
    )
    config = await searchable_config(parts.stores, target.config_key)
    async with parts.stores.changing_mcp(mcp_id), parts.stores.write() as rows:
        await rows.mcps.update(changed, mcp.revision, caller.user_id, config, "rollback")
    await tell_mcp_drift(parts.stores, mcp_id)
    response.headers["ETag"] = etag(changed)
    return McpChanged.model_validate(changed.model_dump())
