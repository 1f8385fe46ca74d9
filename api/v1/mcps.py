"""`/api/v1/mcps`: registering and changing MCPs."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Header, Path, Query, Response, status

from api.dependencies import PartsDep, Requires
from api.parts import Parts
from api.v1.answers import Deleted, pages
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.base import Contract, Moment
from mcp_platform.contracts.mcps import CreateMcp, Mcp, McpConfig, McpStatus, UpdateMcp, version_order
from mcp_platform.errors import Conflict, Forbidden, NotFound, ValidationFailed
from mcp_platform.names import Collection

router = APIRouter(prefix="/mcps", tags=["MCPs"])

Reader = Annotated[Principal, Depends(Requires(Permission.MCPS_READ))]
Writer = Annotated[Principal, Depends(Requires(Permission.MCPS_WRITE))]
Deleter = Annotated[Principal, Depends(Requires(Permission.MCPS_DELETE))]
McpId = Annotated[UUID, Path(description="The MCP's id")]


class McpSummary(Contract):
    """An MCP in a list."""

    id: UUID
    name: str
    slug: str
    description: str
    version: str
    status: McpStatus
    created_at: Moment


class McpChanged(Contract):
    """Answer to an update."""

    id: UUID
    name: str
    slug: str
    description: str
    version: str
    status: McpStatus
    updated_at: Moment


class McpCreated(McpSummary):
    """Answer to a registration."""

    author_id: UUID
    updated_at: Moment


class McpDetails(McpCreated):
    """An MCP with its configuration."""

    config: dict[str, Any]


class McpPage(Contract):
    """One page of a list."""

    items: list[McpSummary]
    total: int
    page: int
    page_size: int
    pages: int


class HistoryEntry(Contract):
    """One version of an MCP."""

    version: str
    changed_at: Moment
    changed_by: UUID
    change_type: str
    config: dict[str, Any]


class History(Contract):
    """All versions, the newest first."""

    versions: list[HistoryEntry]


@router.post("", status_code=status.HTTP_201_CREATED)
async def create_mcp(order: CreateMcp, caller: Writer, parts: PartsDep, response: Response) -> McpCreated:
    """Register an MCP as a draft."""
    now = datetime.now(UTC)
    mcp = Mcp(
        id=uuid4(),
        name=order.name,
        slug=order.slug,
        description=order.description,
        version=order.version,
        author_id=caller.user_id,
        status=McpStatus.DRAFT,
        config_key=str(uuid4()),
        revision=1,
        created_at=now,
        updated_at=now,
    )
    await _store_config(parts, mcp.config_key, order.config)
    async with parts.stores.write() as rows:
        await rows.mcps.add(mcp, caller.user_id)
    response.headers["ETag"] = _tag(mcp)
    return McpCreated.model_validate(mcp.model_dump())


@router.get("")
async def list_mcps(
    _caller: Reader,
    parts: PartsDep,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    page_size: Annotated[int, Query(ge=1, le=100)] = 20,
    status: McpStatus | None = None,
    search: Annotated[str | None, Query(max_length=200)] = None,
) -> McpPage:
    """List MCPs, the newest first; `search` looks into names, slugs and descriptions."""
    async with parts.stores.read() as rows:
        found = await rows.mcps.list(page=page, page_size=page_size, status=status, search=search)
    return McpPage(
        items=[McpSummary.model_validate(mcp.model_dump()) for mcp in found.items],
        total=found.total,
        page=page,
        page_size=page_size,
        pages=pages(found.total, page_size),
    )


@router.get("/{mcp_id}")
async def get_mcp(mcp_id: McpId, _caller: Reader, parts: PartsDep, response: Response) -> McpDetails:
    """One MCP with its configuration."""
    mcp = await _find(parts, mcp_id)
    response.headers["ETag"] = _tag(mcp)
    config = await parts.stores.documents.get(Collection.CONFIGS, mcp.config_key)
    return McpDetails.model_validate({**mcp.model_dump(), "config": config or {}})


@router.put("/{mcp_id}")
async def update_mcp(
    mcp_id: McpId,
    order: UpdateMcp,
    caller: Writer,
    parts: PartsDep,
    response: Response,
    if_match: Annotated[str | None, Header(description="The ETag that was read")] = None,
) -> McpChanged:
    """Change an MCP. Of two changes at once one wins and the other is answered with 409.

    A new configuration is a new version: without a `version` in the body the last number is raised.
    """
    mcp = await _find(parts, mcp_id)
    _check_author(mcp, caller)
    if if_match is not None and if_match.removeprefix("W/") not in {"*", _tag(mcp)}:
        raise Conflict(
            "The MCP was changed since it was read; read it again",
            resource_type="mcp_tool",
            resource_id=str(mcp_id),
        )
    changed = mcp.model_copy(
        update={
            "name": order.name if order.name is not None else mcp.name,
            "description": order.description if order.description is not None else mcp.description,
            "version": _next_version(mcp, order),
            "status": order.status or mcp.status,
            "config_key": str(uuid4()) if order.config else mcp.config_key,
            "revision": mcp.revision + 1,
            "updated_at": datetime.now(UTC),
        }
    )
    if order.config:
        await _store_config(parts, changed.config_key, order.config)
    async with parts.stores.write() as rows:
        await rows.mcps.update(changed, mcp.revision, caller.user_id)
    response.headers["ETag"] = _tag(changed)
    return McpChanged.model_validate(changed.model_dump())


@router.get("/{mcp_id}/history")
async def get_history(mcp_id: McpId, _caller: Reader, parts: PartsDep) -> History:
    """All versions with their configurations, the newest first."""
    await _find(parts, mcp_id)
    async with parts.stores.read() as rows:
        versions = await rows.mcps.history(mcp_id)
    keys = {version.config_key for version in versions}
    configs = await parts.stores.documents.get_many(Collection.CONFIGS, list(keys))
    return History(
        versions=[
            HistoryEntry.model_validate({**entry.model_dump(), "config": configs.get(entry.config_key, {})})
            for entry in versions
        ]
    )


@router.delete("/{mcp_id}")
async def delete_mcp(mcp_id: McpId, caller: Deleter, parts: PartsDep) -> Deleted:
    """Remove an MCP and its history; refused while it is deployed."""
    _check_author(await _find(parts, mcp_id), caller)
    async with parts.stores.write() as rows:
        if not await rows.mcps.delete(mcp_id):
            raise NotFound("mcp_tool", mcp_id)
    return Deleted(message="MCP tool deleted successfully", id=mcp_id)


def _check_author(mcp: Mcp, caller: Principal) -> None:
    if mcp.author_id != caller.user_id and Permission.MCPS_ALL not in caller.permissions:
        raise Forbidden(Permission.MCPS_ALL, "Only its author or an administrator may change an MCP")


async def _find(parts: Parts, mcp_id: UUID) -> Mcp:
    async with parts.stores.read() as rows:
        mcp = await rows.mcps.get(mcp_id)
    if mcp is None:
        raise NotFound("mcp_tool", mcp_id)
    return mcp


async def _store_config(parts: Parts, key: str, config: McpConfig) -> None:
    """Write the configuration as it was given, before any row points to it."""
    body = config.model_dump(mode="json", exclude_unset=True)
    await parts.stores.documents.put(Collection.CONFIGS, key, body)


def _next_version(mcp: Mcp, order: UpdateMcp) -> str:
    if order.version is None:
        if order.config is None:
            return mcp.version
        major, minor, patch = version_order(mcp.version)
        return f"{major}.{minor}.{patch + 1}"
    least = version_order(mcp.version)
    given = version_order(order.version)
    if given < least or (order.config is not None and given == least):
        raise ValidationFailed.at(
            ("body", "version"), f"must be higher than the present version, {mcp.version}"
        )
    return order.version


def _tag(mcp: Mcp) -> str:
    return f'"{mcp.revision}"'
