"""Asking a deployment's workflow for a change, and what its refusals mean."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

import structlog
from temporalio.client import (
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import FailureError
from temporalio.service import RPCError, RPCStatusCode

from api.parts import Parts
from api.v1.deployments.shown import RolloutStarted
from mcp_platform.contracts.deployments import (
    Deployment,
    DeploymentOrder,
    DeploymentReport,
    DeploymentState,
    Revision,
    RevisionContent,
    RolloutOrder,
)
from mcp_platform.errors import Conflict, Unavailable
from mcp_platform.names import Channel, TaskQueue, deployment_workflow_id
from storage import deploying
from workflows.deployments import DeploymentWorkflow

logger = structlog.get_logger(__name__)

PATIENCE = timedelta(seconds=20)
"""How long a request waits for a worker to carry out what it asks for."""

AnswerT = TypeVar("AnswerT")


class Workflows:
    """The workflows that own deployments, asked by routes."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def start(self, order: DeploymentOrder, summary: str) -> None:
        """Start the workflow of a deployment."""
        await self._parts.temporal.start_workflow(
            DeploymentWorkflow.run,
            order,
            id=deployment_workflow_id(order.deployment_id),
            task_queue=TaskQueue.ORCHESTRATION,
            static_summary=summary,
        )

    async def roll_out(self, deployment_id: UUID, request: RolloutOrder) -> Revision:
        """Have a deployment rolled out.

        Raises:
            Conflict: Another change goes on, or the deployment is stopped.
            Unavailable: No worker has carried it out yet.
        """
        handle = workflow_of(self._parts, deployment_id)
        return await asked(
            deployment_id,
            lambda: handle.execute_update(DeploymentWorkflow.roll_out, request, rpc_timeout=PATIENCE),
        )


def workflow_of(parts: Parts, deployment_id: UUID) -> WorkflowHandle[DeploymentWorkflow, DeploymentReport]:
    """Give the handle of the workflow that owns a deployment."""
    return parts.temporal.get_workflow_handle_for(
        DeploymentWorkflow.run, deployment_workflow_id(deployment_id)
    )


async def asked(deployment_id: UUID, update: Callable[[], Awaitable[AnswerT]]) -> AnswerT:
    """Carry out an update.

    Raises:
        Conflict: The workflow refuses it: another change goes on, or the deployment is stopped.
        Unavailable: No worker has carried it out yet.
    """
    try:
        return await update()
    except WorkflowUpdateFailedError as error:
        reason = error.cause.message if isinstance(error.cause, FailureError) else str(error.cause)
        raise Conflict(_sentence(reason), deployment_id=str(deployment_id)) from None
    except WorkflowUpdateRPCTimeoutOrCancelledError:
        raise Unavailable("No worker has carried this out yet", part="worker") from None
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        raise stopped(deployment_id) from None


def stopped(deployment_id: UUID) -> Conflict:
    """Say that nothing of a deployment runs any more, and what to do."""
    return Conflict(
        "The deployment is stopped; POST /api/v1/deployments runs its MCP again",
        deployment_id=str(deployment_id),
    )


async def roll_out(
    parts: Parts, deployment: Deployment, content: RevisionContent, replicas: int | None = None
) -> RolloutStarted:
    """Begin to replace a deployment's replicas by ones that run this.

    Raises:
        Conflict: Another change goes on, the deployment is stopped, or its MCP is being deleted.
        Unavailable: No worker has carried it out yet.
    """
    revision = await deploying.roll_out(
        parts.stores, parts.settings, Workflows(parts), deployment, content, replicas
    )
    return RolloutStarted(
        deployment_id=deployment.id,
        revision=revision.number,
        version=revision.version,
        cause=revision.cause,
        state=revision.state,
        message=f"Revision {revision.number} takes over, one replica after the other",
    )


async def stop(parts: Parts, deployment: Deployment, drain: float | None) -> None:
    """Stop a deployment; returns once nothing of it runs any more, or when that takes long."""
    handle = workflow_of(parts, deployment.id)
    try:
        # A signal is kept even if no worker lives now: what was asked for will be done.
        await handle.signal(DeploymentWorkflow.stop, drain)
        async with asyncio.timeout(PATIENCE.total_seconds()):
            await handle.result()
    except TimeoutError:
        logger.info("deployment_stops_slowly", deployment_id=str(deployment.id))
    except WorkflowFailureError as error:
        # Ended from outside in the meantime; the reconciliation settles the record.
        logger.warning("deployment_workflow_ended", error=str(error.cause))
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        # No workflow runs, or none ever did: the record is all there is to stop.
        await _record_stopped(parts, deployment)


async def _record_stopped(parts: Parts, deployment: Deployment) -> None:
    if deployment.status is DeploymentState.STOPPED:
        return
    report = DeploymentReport.stopped(deployment, "stopped while no workflow was running it")
    async with parts.stores.write() as rows:
        await rows.deployments.report(report)
    await parts.stores.publish(Channel.ROUTES, {"slug": deployment.slug})


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
