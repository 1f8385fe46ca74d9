"""Removing MCPs."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import APIRouter, Query, Response, status

from api.dependencies import PartsDep
from api.parts import Parts
from api.v1.mcps.lookup import Deleter, McpId, find_own_mcp
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.base import Contract
from mcp_platform.contracts.events import Event, EventType
from mcp_platform.contracts.mcps import DeleteMcpOrder
from mcp_platform.contracts.tasks import TaskKind, TaskRecord, TaskState
from mcp_platform.errors import Conflict, Forbidden, NotFound
from mcp_platform.names import Channel, TaskQueue
from storage.deploying import check_owner
from workflows.mcps import DeleteMcpWorkflow

router = APIRouter(prefix="/mcps", tags=["MCPs"])


class McpDeleted(Contract):
    """An MCP was removed; with `task_id`, it will be when that task is completed."""

    message: str
    id: UUID
    task_id: str | None = None


@router.delete("/{mcp_id:uuid}", response_model_exclude_none=True, responses={202: {"model": McpDeleted}})
async def delete_mcp(
    mcp_id: McpId,
    caller: Deleter,
    parts: PartsDep,
    response: Response,
    force: Annotated[bool, Query(description="Whether to stop its deployment first")] = False,
) -> McpDeleted:
    """Remove an MCP and its history; refused while it is deployed, unless forced.

    Forced, it is answered with 202 and a task that stops the deployment and then removes the MCP. Until
    that task has ended no deployment of the MCP can begin.
    """
    await find_own_mcp(parts, mcp_id, caller)
    task_id = await _begin(parts, mcp_id, caller) if force else None
    if task_id is None:
        try:
            await _delete(parts, mcp_id)
        except Conflict:
            # A deployment may have begun after we looked for one.
            task_id = await _begin(parts, mcp_id, caller) if force else None
            if task_id is None:
                raise
        else:
            return McpDeleted(message="MCP tool deleted successfully", id=mcp_id)
    response.status_code = status.HTTP_202_ACCEPTED
    return McpDeleted(
        message="The deployment is stopped, then the MCP is deleted", id=mcp_id, task_id=task_id
    )


async def _delete(parts: Parts, mcp_id: UUID) -> None:
    async with parts.stores.changing_mcp(mcp_id), parts.stores.write() as rows:
        if not await rows.mcps.delete(mcp_id):
            raise NotFound("mcp_tool", mcp_id)


async def _begin(parts: Parts, mcp_id: UUID, caller: Principal) -> str | None:
    """Start the task, unless one is under way; None if the MCP is not deployed."""
    await _check_deployment(parts, mcp_id, caller)
    new = str(uuid4())
    record = TaskRecord(
        task_id=new,
        kind=TaskKind.MCP_DELETION,
        owner_id=caller.user_id,
        status=TaskState.PENDING,
        message="Queued",
        created_at=datetime.now(UTC),
    )
    async with parts.stores.write() as rows:
        task_id = await rows.mcps.begin_deletion(mcp_id, new)
        if task_id == new:
            await rows.tasks.add(record)
    if task_id != new:
        return task_id
    await parts.temporal.start_workflow(
        DeleteMcpWorkflow.run,
        DeleteMcpOrder(task_id=new, mcp_id=mcp_id),
        id=new,
        task_queue=TaskQueue.ORCHESTRATION,
    )
    started = Event(type=EventType.TASK_STARTED, owner_id=caller.user_id, data={"task_id": new})
    await parts.stores.publish(Channel.EVENTS, started)
    return new


async def _check_deployment(parts: Parts, mcp_id: UUID, caller: Principal) -> None:
    """Let only those delete a deployed MCP who may stop its deployment."""
    async with parts.stores.read() as rows:
        deployment_id = await rows.mcps.deployed(mcp_id)
        deployment = await rows.deployments.get(deployment_id) if deployment_id else None
    if deployment is None:
        return
    if Permission.DEPLOYMENTS_WRITE not in caller.permissions:
        raise Forbidden(Permission.DEPLOYMENTS_WRITE)
    await check_owner(parts.stores, deployment, caller)
