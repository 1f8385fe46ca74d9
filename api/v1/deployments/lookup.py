"""Finding deployments, and who may change them."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends

from api.dependencies import Requires
from api.parts import Parts
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.deployments import Deployment
from mcp_platform.errors import Forbidden, NotFound
from storage.deploying import check_owner, concerns

Reader = Annotated[Principal, Depends(Requires(Permission.DEPLOYMENTS_READ))]
Writer = Annotated[Principal, Depends(Requires(Permission.DEPLOYMENTS_WRITE))]


async def check_reader_of_logs(parts: Parts, deployment: Deployment, caller: Principal) -> None:
    """Let only its owner, the author of its MCP, or an administrator read a deployment's logs.

    Raises:
        Forbidden: It is somebody else's.
    """
    if not await concerns(parts.stores, deployment, caller):
        raise Forbidden(
            Permission.DEPLOYMENTS_ALL,
            "Only its owner, the author of its MCP or an administrator may read a deployment's logs",
        )


async def find_deployment(parts: Parts, deployment_id: UUID, caller: Principal) -> Deployment:
    """Find a deployment that the caller may know of.

    Raises:
        NotFound: There is none.
    """
    async with parts.stores.read() as rows:
        deployment = await rows.deployments.get(deployment_id)
    if deployment is None or not caller.may_use(deployment.mcp_id):
        raise NotFound("deployment", deployment_id)
    return deployment


async def own_deployment(parts: Parts, deployment_id: UUID, caller: Principal) -> Deployment:
    """Find a deployment that the caller may change.

    Raises:
        NotFound: There is none that the caller may know of.
        Forbidden: The caller may not change it.
    """
    deployment = await find_deployment(parts, deployment_id, caller)
    await check_owner(parts.stores, deployment, caller)
    return deployment
