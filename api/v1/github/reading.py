"""`GET /api/v1/github/connections`: the connections of an account."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.dependencies import PartsDep
from api.v1.answers import pages
from api.v1.github.connecting import shown
from api.v1.github.lookup import ConnectionId, Reader, find_connection
from mcp_platform.contracts.access import Permission
from mcp_platform.contracts.connecting import ConnectionDetails, ConnectionPage
from storage.drift import drift_of

router = APIRouter(prefix="/github", tags=["GitHub"])


@router.get("/connections")
async def list_connections(
    caller: Reader,
    parts: PartsDep,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    page_size: Annotated[int, Query(ge=1, le=100)] = 20,
) -> ConnectionPage:
    """List one's own connections, the newest first; who may see all sees everybody's."""
    owner_id = None if Permission.GITHUB_ALL in caller.permissions else caller.user_id
    async with parts.stores.read() as rows:
        found = await rows.connections.list(owner_id=owner_id, page=page, page_size=page_size)
    return ConnectionPage(
        items=[await shown(parts, each) for each in found.items],
        total=found.total,
        page=page,
        page_size=page_size,
        pages=pages(found.total, page_size),
    )


@router.get("/connections/{connection_id:uuid}")
async def get_connection(connection_id: ConnectionId, caller: Reader, parts: PartsDep) -> ConnectionDetails:
    """Tell how a connection stands, and which definitions the last sync found."""
    connection = await find_connection(parts, connection_id, caller)
    async with parts.stores.read() as rows:
        definitions = await rows.connections.definitions(connection_id)
    drift, drifts = await drift_of(parts.stores, connection)
    view = await shown(parts, connection)
    found = {"definitions": definitions, "drift": drift, "drifts": drifts}
    return ConnectionDetails.model_validate(view.model_dump() | found)
