"""`/api/v1/tasks/{id}/log`: what the build of an image wrote."""

from typing import Annotated

from fastapi import APIRouter, Depends

from api.dependencies import PartsDep, Requires
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.images import BuildLog
from mcp_platform.errors import NotFound
from mcp_platform.names import Collection

router = APIRouter(prefix="/tasks", tags=["Tasks"])


@router.get("/{task_id}/log")
async def get_build_log(
    task_id: str, caller: Annotated[Principal, Depends(Requires(Permission.TASKS_READ))], parts: PartsDep
) -> BuildLog:
    """Give the last lines of a build that has ended, however; other tasks have no log."""
    await parts.tasks.authorise(task_id, caller)
    body = await parts.stores.documents.get(Collection.BUILD_LOGS, task_id)
    if body is None:
        raise NotFound("build_log", task_id)
    return BuildLog.model_validate(body)
