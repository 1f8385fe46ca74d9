"""Whose a deployment is."""

from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.deployments import Deployment, Driver
from mcp_platform.errors import Forbidden
from storage.stores import Stores


async def check_owner(stores: Stores, deployment: Deployment, caller: Principal) -> None:
    """Let only its owner, the author of its MCP, or an administrator change a deployment.

    Raises:
        Forbidden: It is somebody else's, or it runs commands and the caller may not.
    """
    if deployment.driver is Driver.PROCESS and Permission.DEPLOYMENTS_PROCESS not in caller.permissions:
        raise Forbidden(Permission.DEPLOYMENTS_PROCESS)
    # Whoever deploys somebody else's MCP must not keep its author from it.
    if not await concerns(stores, deployment, caller):
        raise Forbidden(
            Permission.DEPLOYMENTS_ALL,
            "Only its owner, the author of its MCP or an administrator may change a deployment",
        )


async def concerns(stores: Stores, deployment: Deployment, caller: Principal) -> bool:
    """Tell whether a deployment is the caller's, or of their MCP, or they may have to do with all."""
    if deployment.owner_id == caller.user_id or Permission.DEPLOYMENTS_ALL in caller.permissions:
        return True
    async with stores.read() as rows:
        mcp = await rows.mcps.get(deployment.mcp_id)
    return mcp is not None and mcp.author_id == caller.user_id
