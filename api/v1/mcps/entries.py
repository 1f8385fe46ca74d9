"""Registering, listing, showing and changing MCPs."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response, status

from api.dependencies import PartsDep, parts_of
from api.parts import Parts
from api.v1.answers import pages
from api.v1.mcps.lookup import (
    IfMatch,
    McpId,
    Reader,
    Wanted,
    Writer,
    check_unchanged,
    check_unlimited,
    etag,
    find_own_mcp,
)
from mcp_platform.contracts.base import Contract, Moment
from mcp_platform.contracts.mcps import (
    CreateMcp,
    McpOrder,
    McpStatus,
    ShownMcp,
    TagCount,
    UpdateMcp,
)
from mcp_platform.errors import NotFound
from storage.registration import read_config, register, revise
from storage.stores import SHOWN_MCPS

router = APIRouter(prefix="/mcps", tags=["MCPs"])


class McpHead(Contract):
    """What every answer says of an MCP."""

    id: UUID
    name: str
    slug: str
    description: str
    version: str
    status: McpStatus


class McpSummary(McpHead):
    """An MCP in a list."""

    created_at: Moment
    tags: list[str]


class McpChanged(McpHead):
    """Answer to a change."""

    updated_at: Moment


class McpCreated(McpHead):
    """Answer to a registration."""

    author_id: UUID
    created_at: Moment
    updated_at: Moment


class McpDetails(McpCreated):
    """An MCP with its configuration."""

    tags: list[str]
    config: dict[str, Any]


class McpPage(Contract):
    """One page of a list."""

    items: list[McpSummary]
    total: int
    page: int
    page_size: int
    pages: int


class TagList(Contract):
    """All tags, in the order of the alphabet."""

    tags: list[TagCount]


@router.get("/{mcp_id:uuid}", response_model=McpDetails)
async def get_mcp(mcp_id: McpId, caller: Reader, request: Request) -> Response:
    """One MCP with its configuration."""
    # The route that is asked most: it stands first, and does without a dependency that it can.
    parts = parts_of(request)
    shown = None
    if caller.may_use(mcp_id):
        shown = await parts.stores.reads.read(SHOWN_MCPS, str(mcp_id), lambda: _shown(parts, mcp_id))
    if shown is None:
        raise NotFound("mcp_tool", mcp_id)
    return Response(shown.body, media_type="application/json", headers={"ETag": shown.etag})


@router.post("", status_code=status.HTTP_201_CREATED)
async def create_mcp(order: CreateMcp, caller: Writer, parts: PartsDep, response: Response) -> McpCreated:
    """Register an MCP as a draft."""
    check_unlimited(caller)
    mcp = await register(parts.stores, order, caller.user_id)
    response.headers["ETag"] = etag(mcp)
    return McpCreated.model_validate(mcp.model_dump())


@router.get("")
async def list_mcps(
    wanted: Wanted,
    parts: PartsDep,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    page_size: Annotated[int, Query(ge=1, le=100)] = 20,
    sort: Annotated[McpOrder | None, Query(description="Newest first unless told")] = None,
    order: Annotated[str, Query(pattern="^(asc|desc)$")] = "desc",
) -> McpPage:
    """List MCPs, the newest first; in a search those whose name has every word come before the others."""
    async with parts.stores.read() as rows:
        found = await rows.mcps.list(
            wanted, page=page, page_size=page_size, sort=sort, ascending=order == "asc"
        )
    return McpPage(
        items=[McpSummary.model_validate(mcp.model_dump()) for mcp in found.items],
        total=found.total,
        page=page,
        page_size=page_size,
        pages=pages(found.total, page_size),
    )


@router.get("/tags")
async def list_tags(caller: Reader, parts: PartsDep) -> TagList:
    """List the tags in use, with the number of MCPs that have each."""
    async with parts.stores.read() as rows:
        return TagList(tags=await rows.mcps.tags(caller.mcp_ids))


@router.put("/{mcp_id:uuid}")
async def update_mcp(
    mcp_id: McpId,
    order: UpdateMcp,
    caller: Writer,
    parts: PartsDep,
    response: Response,
    if_match: IfMatch = None,
) -> McpChanged:
    """Change an MCP. Of two changes at once one wins and the other is answered with 409.

    A new configuration is a new version: without a `version` in the body the last number is raised.
    """
    mcp = await find_own_mcp(parts, mcp_id, caller)
    check_unchanged(mcp, if_match)
    changed = await revise(parts.stores, mcp, order, caller.user_id)
    response.headers["ETag"] = etag(changed)
    return McpChanged.model_validate(changed.model_dump())


async def _shown(parts: Parts, mcp_id: UUID) -> ShownMcp | None:
    async with parts.stores.read() as rows:
        mcp = await rows.mcps.get(mcp_id)
    if mcp is None:
        return None
    config = await read_config(parts.stores, mcp.config_key)
    details = McpDetails.model_validate({**mcp.model_dump(), "config": config})
    return ShownMcp(etag=etag(mcp), body=details.model_dump_json())
