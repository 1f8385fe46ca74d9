"""`/api/v1/analyze/feasibility`: judging ideas."""

from typing import Any

from fastapi import APIRouter, status

from api.dependencies import PartsDep
from api.v1.analysis.asking import Analyser, start_analysis
from api.v1.tasks import TaskAccepted
from mcp_platform.contracts.access import Permission
from mcp_platform.contracts.analysis import AnalyzeFeasibility, FeasibilityOrder
from mcp_platform.contracts.tasks import TaskKind
from workflows.analysis import FeasibilityWorkflow

router = APIRouter(prefix="/analyze", tags=["Analysis"])


@router.post("/feasibility", status_code=status.HTTP_202_ACCEPTED)
async def analyze_feasibility(order: AnalyzeFeasibility, caller: Analyser, parts: PartsDep) -> TaskAccepted:
    """Start judging an idea; the result is read from the task."""
    return await start_analysis(
        parts,
        caller,
        TaskKind.FEASIBILITY,
        _asked(order),
        FeasibilityWorkflow.run,
        lambda task_id: FeasibilityOrder(
            task_id=task_id,
            idea_key=task_id,
            owner_id=caller.user_id,
            engine=order.engine,
            tries=order.try_it,
            may_run_commands=Permission.DEPLOYMENTS_PROCESS in caller.permissions,
            reads_mcps=Permission.MCPS_READ in caller.permissions,
            reads_knowledge=Permission.KNOWLEDGE_READ in caller.permissions,
        ),
        "Feasibility analysis queued for processing",
        order.engine,
    )


def _asked(order: AnalyzeFeasibility) -> dict[str, Any]:
    if order.config is None:
        return {"description": order.description}
    return order.config.model_dump(mode="json")
