"""What all analyses have in common: a document that says what is asked, a task, a workflow."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import uuid4

from fastapi import Depends

from api.dependencies import Requires
from api.parts import Parts
from api.v1.analysis.budget import check_budget
from api.v1.tasks import TaskAccepted
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.base import Contract
from mcp_platform.contracts.events import Event, EventType
from mcp_platform.contracts.models import EngineChoice
from mcp_platform.contracts.tasks import TaskKind, TaskRecord, TaskState, TaskStatus
from mcp_platform.names import Channel, Collection, TaskQueue

Analyser = Annotated[Principal, Depends(Requires(Permission.ANALYSIS_RUN))]


async def start_analysis(
    parts: Parts,
    caller: Principal,
    kind: TaskKind,
    asked: dict[str, Any],
    workflow: Callable[[Any, Any], Awaitable[TaskStatus]],
    order: Callable[[str], Contract],
    message: str,
    engine: EngineChoice = EngineChoice.AUTO,
) -> TaskAccepted:
    """Record what is asked and start the workflow that answers it.

    Args:
        parts: Of the API.
        caller: Whose task it will be.
        kind: What the task does.
        asked: The document that says what is asked; its key is the task's id.
        workflow: The run method of the workflow.
        order: Makes what the workflow is started with, of the task's id.
        message: What the answer says.
        engine: Who is to answer; with `rules` no budget is looked at.

    Raises:
        BudgetExhausted: A model may be asked, and the caller's budget of today is used up.
    """
    if engine is EngineChoice.AUTO:
        await check_budget(parts, caller)
    task_id = str(uuid4())
    # The document, the row, the workflow: a crash between any two leaves nothing that misleads.
    await parts.stores.documents.put(Collection.IDEAS, task_id, asked)
    async with parts.stores.write() as rows:
        await rows.tasks.add(_pending(task_id, kind, caller))
    await parts.temporal.start_workflow(
        workflow, order(task_id), id=task_id, task_queue=TaskQueue.ORCHESTRATION
    )
    started = Event(type=EventType.TASK_STARTED, owner_id=caller.user_id, data={"task_id": task_id})
    await parts.stores.publish(Channel.EVENTS, started)
    return TaskAccepted(task_id=task_id, status=TaskState.PENDING, message=message)


def _pending(task_id: str, kind: TaskKind, caller: Principal) -> TaskRecord:
    return TaskRecord(
        task_id=task_id,
        kind=kind,
        owner_id=caller.user_id,
        status=TaskState.PENDING,
        message="Queued",
        created_at=datetime.now(UTC),
    )
