"""Looking at deployments."""

from uuid import UUID

from fastapi import APIRouter

from api.dependencies import PartsDep
from api.v1.deployments.lookup import Reader, find_deployment
from api.v1.deployments.shown import (
    DeploymentDetails,
    DeploymentList,
    DeploymentSummary,
    RevisionList,
    details,
    summary,
)
from mcp_platform.contracts.deployments import DeploymentState

router = APIRouter(prefix="/deployments", tags=["Deployments"])


@router.get("")
async def list_deployments(
    caller: Reader,
    parts: PartsDep,
    status: DeploymentState | None = None,
    tool_id: UUID | None = None,
) -> DeploymentList:
    """List deployments, stopped ones too."""
    async with parts.stores.read() as rows:
        listed = await rows.deployments.list(status=status, mcp_id=tool_id)
    found = [deployment for deployment in listed if caller.may_use(deployment.mcp_id)]
    checked = await parts.stores.stamps.last([deployment.id for deployment in found])
    return DeploymentList(
        deployments=[
            DeploymentSummary.model_validate(summary(parts, deployment, checked.get(deployment.id)))
            for deployment in found
        ],
        total=len(found),
    )


@router.get("/{deployment_id}")
async def get_deployment(deployment_id: UUID, caller: Reader, parts: PartsDep) -> DeploymentDetails:
    """One deployment, with the reason and the last lines of standard error of what is not healthy."""
    return await details(parts, await find_deployment(parts, deployment_id, caller))


@router.get("/{deployment_id}/revisions")
async def list_revisions(deployment_id: UUID, caller: Reader, parts: PartsDep) -> RevisionList:
    """List what a deployment ran before, and what became of each roll-out."""
    deployment = await find_deployment(parts, deployment_id, caller)
    async with parts.stores.read() as rows:
        revisions = await rows.revisions.list(deployment.id)
    return RevisionList(deployment_id=deployment.id, revisions=revisions)
