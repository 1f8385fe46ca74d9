"""What all routes about connections need: finding one, and whose it is."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path

from api.dependencies import Requires
from api.parts import Parts
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.github import Connection, ConnectionState
from mcp_platform.errors import Conflict, Forbidden, NotFound

Reader = Annotated[Principal, Depends(Requires(Permission.GITHUB_READ))]
Writer = Annotated[Principal, Depends(Requires(Permission.GITHUB_WRITE))]
ConnectionId = Annotated[UUID, Path(description="The connection's id")]


async def find_connection(parts: Parts, connection_id: UUID, caller: Principal) -> Connection:
    """Find a connection that the caller may know of: their own, or anybody's for who may see all.

    Raises:
        NotFound: There is none, or it is somebody else's.
    """
    async with parts.stores.read() as rows:
        found = await rows.connections.get(connection_id)
    if found is None or found.state is ConnectionState.CONNECTING:
        raise NotFound("connection", connection_id)
    if found.owner_id != caller.user_id and Permission.GITHUB_ALL not in caller.permissions:
        raise NotFound("connection", connection_id)
    return found


def check_registering(caller: Principal) -> None:
    """Refuse callers who may not do themselves what a sync does in their name, such as a narrow API key.

    Raises:
        Forbidden: They may not register and change MCPs.
    """
    if Permission.MCPS_WRITE not in caller.permissions:
        raise Forbidden(Permission.MCPS_WRITE, "What is connected registers and changes MCPs")


def check_stays(connection: Connection) -> None:
    """Refuse to work on a connection that is being ended.

    Raises:
        Conflict: It is.
    """
    if connection.state is ConnectionState.DISCONNECTING:
        raise Conflict(
            "The repository is being disconnected",
            resource_type="connection",
            resource_id=str(connection.id),
        )
