"""`/api/v1/analyze`: judging ideas."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Depends, status

from api.dependencies import PartsDep, Requires
from api.v1.tasks import TaskAccepted
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.analysis import AnalyzeFeasibility, FeasibilityOrder
from mcp_platform.contracts.events import Event, EventType
from mcp_platform.contracts.tasks import TaskKind, TaskRecord, TaskState
from mcp_platform.names import Channel, Collection, TaskQueue
from workflows.analysis import FeasibilityWorkflow

router = APIRouter(prefix="/analyze", tags=["Analysis"])

Analyser = Annotated[Principal, Depends(Requires(Permission.ANALYSIS_RUN))]


@router.post("/feasibility", status_code=status.HTTP_202_ACCEPTED)
async def analyze_feasibility(order: AnalyzeFeasibility, caller: Analyser, parts: PartsDep) -> TaskAccepted:
    """Start judging an idea; the result is read from the task."""
    task_id = str(uuid4())
    # The document, the row, the workflow: a crash between any two leaves nothing that misleads.
    await parts.stores.documents.put(Collection.IDEAS, task_id, order.config.model_dump(mode="json"))
    record = TaskRecord(
        task_id=task_id,
        kind=TaskKind.FEASIBILITY,
        owner_id=caller.user_id,
        status=TaskState.PENDING,
        message="Queued",
        created_at=datetime.now(UTC),
    )
    async with parts.stores.write() as rows:
        await rows.tasks.add(record)
    await parts.temporal.start_workflow(
        FeasibilityWorkflow.run,
        FeasibilityOrder(task_id=task_id, idea_key=task_id, owner_id=caller.user_id),
        id=task_id,
        task_queue=TaskQueue.ORCHESTRATION,
    )
    started = Event(type=EventType.TASK_STARTED, owner_id=caller.user_id, data={"task_id": task_id})
    await parts.stores.publish(Channel.EVENTS, started)
    return TaskAccepted(
        task_id=task_id, status=TaskState.PENDING, message="Feasibility analysis queued for processing"
    )
