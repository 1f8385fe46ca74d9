"""`/api/v1/tasks`: watching and cancelling background operations."""

import asyncio
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response, status
from temporalio.service import RPCError, RPCStatusCode

from api.dependencies import PartsDep, Requires, parts_of
from api.parts import Parts
from api.task_reader import TaskView, may_see
from api.v1.answers import pages
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.base import Contract
from mcp_platform.contracts.tasks import REPEATED_KINDS, TaskKind, TaskState
from mcp_platform.errors import Conflict, NotFound
from storage.cache import Kind

router = APIRouter(prefix="/tasks", tags=["Tasks"])

Reader = Annotated[Principal, Depends(Requires(Permission.TASKS_READ))]
Canceller = Annotated[Principal, Depends(Requires(Permission.TASKS_CANCEL))]


class FinishedTask(Contract):
    """The answer for a task that is over for good; kept as it is sent."""

    owner_id: UUID
    body: str


FINISHED = Kind("task", FinishedTask)


class TaskPage(Contract):
    """One page of tasks, the newest first."""

    items: list[TaskView]
    total: int
    page: int
    page_size: int
    pages: int


class TaskAccepted(Contract):
    """A task was started, or something was asked of one."""

    task_id: str
    status: TaskState
    message: str


@router.get("/{task_id}", response_model=TaskView)
async def get_task(task_id: str, caller: Reader, request: Request) -> Response:
    """Where the task stands, and its result once it is completed."""
    # The route that is asked most: it stands first, and does without a dependency that it can.
    parts = parts_of(request)
    finished = await parts.stores.reads.read(FINISHED, task_id, lambda: _finished(parts, task_id))
    if finished is None:
        body = _render(await parts.tasks.view(await parts.tasks.authorise(task_id, caller)))
    elif may_see(finished.owner_id, caller):
        body = finished.body
    else:
        raise NotFound("task", task_id)
    return Response(body, media_type="application/json")


@router.get("", response_model_exclude_none=True)
async def list_tasks(
    caller: Reader,
    parts: PartsDep,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    page_size: Annotated[int, Query(ge=1, le=100)] = 20,
    status: TaskState | None = None,
    kind: TaskKind | None = None,
) -> TaskPage:
    """List the caller's own tasks; an administrator sees everybody's."""
    owner = None if Permission.TASKS_ALL in caller.permissions else caller.user_id
    async with parts.stores.read() as rows:
        found = await rows.tasks.list(
            owner_id=owner, page=page, page_size=page_size, status=status, kind=kind
        )
    views = await asyncio.gather(*(parts.tasks.view(record) for record in found.items))
    return TaskPage(
        items=list(views),
        total=found.total,
        page=page,
        page_size=page_size,
        pages=pages(found.total, page_size),
    )


@router.post("/{task_id}/cancel", status_code=status.HTTP_202_ACCEPTED)
async def cancel_task(task_id: str, caller: Canceller, parts: PartsDep) -> TaskAccepted:
    """Ask the task to stop; what it began is undone or finished by its workflow."""
    view = await parts.tasks.view(await parts.tasks.authorise(task_id, caller))
    if view.status.final:
        raise Conflict(f"The task is {view.status} already", task_id=task_id, status=view.status)
    try:
        await parts.temporal.get_workflow_handle(task_id).cancel()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        raise Conflict("The task has just ended", task_id=task_id) from None
    return TaskAccepted(task_id=task_id, status=view.status, message="Cancellation requested")


async def _finished(parts: Parts, task_id: str) -> FinishedTask | None:
    async with parts.stores.read() as rows:
        record = await rows.tasks.get(task_id)
    if record is None or not record.status.final or record.kind in REPEATED_KINDS:
        return None
    return FinishedTask(owner_id=record.owner_id, body=_render(await parts.tasks.view(record)))


def _render(view: TaskView) -> str:
    return view.model_dump_json(exclude_none=True)
