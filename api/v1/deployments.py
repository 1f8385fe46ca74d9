"""`/api/v1/deployments`: running MCPs."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID, uuid4

import structlog
from fastapi import APIRouter, Depends, Response, status
from pydantic import ValidationError
from temporalio.client import (
    WorkflowFailureError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.service import RPCError, RPCStatusCode

from api.dependencies import PartsDep, Requires
from api.parts import Parts
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.base import Contract, Moment
from mcp_platform.contracts.deployments import (
    CreateDeployment,
    Deployment,
    DeploymentReport,
    DeploymentState,
    Driver,
    Health,
    Replica,
    ScaleDeployment,
)
from mcp_platform.contracts.mcps import Mcp, McpConfig, ServerConfig
from mcp_platform.errors import Conflict, Forbidden, NotFound, Unavailable, ValidationFailed
from mcp_platform.names import Channel, Collection, TaskQueue, deployment_workflow_id
from workflows.deployments import DeploymentWorkflow

logger = structlog.get_logger(__name__)

router = APIRouter(prefix="/deployments", tags=["Deployments"])

Reader = Annotated[Principal, Depends(Requires(Permission.DEPLOYMENTS_READ))]
Writer = Annotated[Principal, Depends(Requires(Permission.DEPLOYMENTS_WRITE))]

_STOP_PATIENCE = 20.0
"""Seconds: how long a request waits for the replicas' end before it answers that this goes on."""
_SCALE_PATIENCE = timedelta(seconds=20)


class DeploymentStarted(Contract):
    """Answer to a deployment."""

    deployment_id: UUID
    tool_id: UUID
    endpoint_url: str
    status: DeploymentState
    deployed_at: Moment


class DeploymentSummary(DeploymentStarted):
    """A deployment in a list."""

    tool_name: str
    health_status: Health
    last_health_check: Moment | None


class Figures(Contract):
    """What the gateway counted since the deployment began; `error_rate` lies between 0 and 1."""

    requests_total: int
    avg_response_time_ms: float
    error_rate: float


class DeploymentDetails(DeploymentSummary):
    """A deployment with its replicas and figures."""

    version: str
    environment: str
    driver: Driver
    replicas_wished: int
    reason: str | None
    stopped_at: Moment | None
    workflow_id: str
    replicas: list[Replica]
    metrics: Figures


class DeploymentList(Contract):
    """Deployments, the newest first."""

    deployments: list[DeploymentSummary]
    total: int


class DeploymentStopped(Contract):
    """Answer to a stop; without `stopped_at` the last replicas are still ending."""

    message: str
    deployment_id: UUID
    stopped_at: Moment | None = None


@router.post("", status_code=status.HTTP_202_ACCEPTED)
async def deploy(order: CreateDeployment, caller: Writer, parts: PartsDep) -> DeploymentStarted:
    """Run an MCP; its workflow keeps the replicas alive from now on."""
    async with parts.stores.read() as rows:
        mcp = await rows.mcps.get(order.tool_id)
    if mcp is None or not caller.may_use(mcp.id):
        raise NotFound("mcp_tool", order.tool_id)
    server = await _server_of(parts, mcp, order.config.server)
    driver = _driver_for(parts, server, caller)
    deployment = Deployment(
        id=uuid4(),
        mcp_id=mcp.id,
        slug=mcp.slug,
        tool_name=mcp.name,
        version=mcp.version,
        owner_id=caller.user_id,
        driver=driver,
        config=order.config.model_copy(update={"server": server.name}),
        config_key=mcp.config_key,
        status=DeploymentState.STARTING,
        health_status=Health.UNKNOWN,
        deployed_at=datetime.now(UTC),
    )
    # The row is the wish: if we die before the workflow starts, the reconciliation starts it.
    async with parts.stores.write() as rows:
        await rows.deployments.add(deployment)
    await parts.temporal.start_workflow(
        DeploymentWorkflow.run,
        parts.settings.replicas.order_for(deployment),
        id=deployment_workflow_id(deployment.id),
        task_queue=TaskQueue.ORCHESTRATION,
    )
    return DeploymentStarted.model_validate(_started(parts, deployment))


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
            DeploymentSummary.model_validate(_summary(parts, deployment, checked.get(deployment.id)))
            for deployment in found
        ],
        total=len(found),
    )


@router.get("/{deployment_id}")
async def get_deployment(deployment_id: UUID, caller: Reader, parts: PartsDep) -> DeploymentDetails:
    """One deployment, with the reason and the last lines of standard error of what is not healthy."""
    return await _details(parts, await _find(parts, deployment_id, caller))


@router.patch("/{deployment_id}")
async def scale_deployment(
    deployment_id: UUID, order: ScaleDeployment, caller: Writer, parts: PartsDep
) -> DeploymentDetails:
    """Wish for another number of replicas."""
    deployment = await _find(parts, deployment_id, caller)
    check_owner(deployment, caller)
    if deployment.driver is Driver.REMOTE:
        raise Conflict(
            "A remote server has one address and cannot be scaled", deployment_id=str(deployment_id)
        )
    handle = parts.temporal.get_workflow_handle(deployment_workflow_id(deployment_id))
    try:
        await handle.execute_update(DeploymentWorkflow.scale, order, rpc_timeout=_SCALE_PATIENCE)
    except WorkflowUpdateFailedError as error:
        raise Conflict(str(error.cause), deployment_id=str(deployment_id)) from None
    except WorkflowUpdateRPCTimeoutOrCancelledError:
        raise Unavailable("No worker has carried this out yet", part="worker") from None
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        raise Conflict("The deployment is stopped", deployment_id=str(deployment_id)) from None
    return await _details(parts, await _find(parts, deployment_id, caller))


@router.delete("/{deployment_id}", response_model_exclude_none=True)
async def stop_deployment(
    deployment_id: UUID, caller: Writer, parts: PartsDep, response: Response
) -> DeploymentStopped:
    """Stop a deployment; answers once nothing of it runs any more, or with 202 when that takes long."""
    deployment = await _find(parts, deployment_id, caller)
    check_owner(deployment, caller)
    if deployment.status is not DeploymentState.STOPPED:
        handle = parts.temporal.get_workflow_handle(deployment_workflow_id(deployment_id))
        try:
            # A signal is kept even if no worker lives now: what was asked for will be done.
            await handle.signal(DeploymentWorkflow.stop)
            async with asyncio.timeout(_STOP_PATIENCE):
                await handle.result()
        except TimeoutError:
            logger.info("deployment_stops_slowly", deployment_id=str(deployment_id))
        except WorkflowFailureError as error:
            # Ended from outside in the meantime; the reconciliation settles the record.
            logger.warning("deployment_workflow_ended", error=str(error.cause))
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            # No workflow runs, or none ever did: the record is all there is to stop.
            await _record_stopped(parts, deployment)
        deployment = await _find(parts, deployment_id, caller)
    if deployment.status is not DeploymentState.STOPPED:
        response.status_code = status.HTTP_202_ACCEPTED
        return DeploymentStopped(message="Deployment is stopping", deployment_id=deployment_id)
    return DeploymentStopped(
        message="Deployment stopped successfully",
        deployment_id=deployment_id,
        stopped_at=deployment.stopped_at,
    )


async def _record_stopped(parts: Parts, deployment: Deployment) -> None:
    report = DeploymentReport.stopped(deployment, "stopped while no workflow was running it")
    async with parts.stores.write() as rows:
        await rows.deployments.report(report)
    await parts.stores.publish(Channel.ROUTES, {"slug": deployment.slug})


def check_owner(deployment: Deployment, caller: Principal) -> None:
    """Let only its owner, or an administrator, change a deployment.

    Raises:
        Forbidden: It is somebody else's, or it runs commands and the caller may not.
    """
    if deployment.driver is Driver.PROCESS and Permission.DEPLOYMENTS_PROCESS not in caller.permissions:
        raise Forbidden(Permission.DEPLOYMENTS_PROCESS)
    if deployment.owner_id != caller.user_id and Permission.DEPLOYMENTS_ALL not in caller.permissions:
        raise Forbidden(
            Permission.DEPLOYMENTS_ALL, "Only its owner or an administrator may change a deployment"
        )


async def _find(parts: Parts, deployment_id: UUID, caller: Principal) -> Deployment:
    async with parts.stores.read() as rows:
        deployment = await rows.deployments.get(deployment_id)
    if deployment is None or not caller.may_use(deployment.mcp_id):
        raise NotFound("deployment", deployment_id)
    return deployment


async def _server_of(parts: Parts, mcp: Mcp, name: str | None) -> ServerConfig:
    body = await parts.stores.documents.get(Collection.CONFIGS, mcp.config_key)
    try:
        return McpConfig.model_validate(body or {}).server(name)
    except ValidationError as error:
        raise ValidationFailed.at(("body", "tool_id"), f"its configuration is not valid: {error}") from None
    except ValueError as error:
        raise ValidationFailed.at(("body", "config", "server"), str(error)) from None


def _driver_for(parts: Parts, server: ServerConfig, caller: Principal) -> Driver:
    if server.kind == "url":
        return Driver.REMOTE
    if server.kind == "image":
        raise ValidationFailed.at(
            ("body", "tool_id"),
            f"server {server.name!r} is a container image, and no container driver is available;"
            " deploy a server with a command or a url",
        )
    if not parts.settings.process_driver:
        raise Conflict(
            "The process driver is off; an administrator can turn it on with"
            " MCP_PLATFORM_REPLICAS__PROCESS_DRIVER=true"
        )
    if Permission.DEPLOYMENTS_PROCESS not in caller.permissions:
        raise Forbidden(Permission.DEPLOYMENTS_PROCESS)
    return Driver.PROCESS


def _started(parts: Parts, deployment: Deployment) -> dict[str, object]:
    return {
        "deployment_id": deployment.id,
        "tool_id": deployment.mcp_id,
        "endpoint_url": f"{parts.settings.gateway_url}/mcp/{deployment.slug}/v1",
        "status": deployment.status,
        "deployed_at": deployment.deployed_at,
    }


def _summary(parts: Parts, deployment: Deployment, checked: datetime | None) -> dict[str, object]:
    return {
        **_started(parts, deployment),
        "tool_name": deployment.tool_name,
        "health_status": deployment.health_status,
        "last_health_check": checked,
    }


async def _details(parts: Parts, deployment: Deployment) -> DeploymentDetails:
    async with parts.stores.read() as rows:
        replicas = await rows.deployments.replicas(deployment.id)
    checked = await parts.stores.stamps.last([deployment.id])
    requests = deployment.requests_total
    return DeploymentDetails.model_validate(
        {
            **_summary(parts, deployment, checked.get(deployment.id)),
            "version": deployment.version,
            "environment": deployment.config.environment,
            "driver": deployment.driver,
            "replicas_wished": deployment.config.replicas,
            "reason": deployment.reason,
            "stopped_at": deployment.stopped_at,
            "workflow_id": deployment_workflow_id(deployment.id),
            "replicas": replicas,
            "metrics": Figures(
                requests_total=requests,
                avg_response_time_ms=round(deployment.latency_ms_total / requests, 3) if requests else 0.0,
                error_rate=round(deployment.errors_total / requests, 4) if requests else 0.0,
            ),
        }
    )
