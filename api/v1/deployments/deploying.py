"""Running an MCP: as a new deployment, or as the next revision of the one that its slug has."""

from fastapi import APIRouter, status

from api.dependencies import PartsDep
from api.parts import Parts
from api.v1.deployments.asking import Workflows, roll_out
from api.v1.deployments.lookup import Writer
from api.v1.deployments.shown import DeploymentStarted, started
from mcp_platform.contracts.access import Principal
from mcp_platform.contracts.deployments import (
    CreateDeployment,
    Deployment,
    DeploymentState,
    Driver,
    RevisionCause,
    RevisionContent,
)
from mcp_platform.contracts.mcps import Mcp
from mcp_platform.errors import Conflict, NotFound
from storage.deploying import begin, check_owner, check_quota, check_scaling, content_of
from storage.deploying.contents import server_of

router = APIRouter(prefix="/deployments", tags=["Deployments"])


@router.post("", status_code=status.HTTP_202_ACCEPTED)
async def deploy(order: CreateDeployment, caller: Writer, parts: PartsDep) -> DeploymentStarted:
    """Run an MCP; its workflow keeps the replicas alive from now on.

    Where its slug is deployed already, that deployment is rolled to what the MCP is now.
    """
    async with parts.stores.read() as rows:
        mcp = await rows.mcps.get(order.tool_id)
        present = await rows.deployments.active_of(mcp.slug) if mcp else None
    if mcp is None or not caller.may_use(mcp.id):
        raise NotFound("mcp_tool", order.tool_id)
    if order.config.server is not None:
        # What is named here is meant, also where a roll-out would follow a server that was renamed.
        await server_of(parts.stores, mcp.config_key, order.config.server, follow=False)
    cause = RevisionCause.ROLLOUT if present else RevisionCause.DEPLOY
    content = await content_of(
        parts.stores,
        parts.settings,
        caller,
        cause,
        version=mcp.version,
        config_key=mcp.config_key,
        config=order.config,
    )
    check_scaling(content)
    wished = content.config.model_copy(update={"driver": content.driver})
    await check_quota(parts.stores, parts.settings, caller, present, wished)
    if present is None:
        try:
            return await _begin(parts, caller, mcp, content)
        except Conflict:
            # Somebody else deployed it a moment ago; or the MCP is being deleted.
            async with parts.stores.read() as rows:
                present = await rows.deployments.active_of(mcp.slug)
            if present is None:
                raise
    return await _continue(parts, caller, present, content)


async def _begin(parts: Parts, caller: Principal, mcp: Mcp, content: RevisionContent) -> DeploymentStarted:
    deployment = await begin(parts.stores, parts.settings, Workflows(parts), caller, mcp, content)
    return DeploymentStarted.model_validate(started(parts, deployment))


async def _continue(
    parts: Parts, caller: Principal, present: Deployment, content: RevisionContent
) -> DeploymentStarted:
    await check_owner(parts.stores, present, caller)
    replicas = 1 if content.driver is Driver.REMOTE else content.config.replicas
    content = content.model_copy(update={"cause": RevisionCause.ROLLOUT})
    await roll_out(parts, present, content, replicas)
    updating = present.model_copy(update={"status": DeploymentState.UPDATING})
    return DeploymentStarted.model_validate(started(parts, updating))
