"""`/api/v1/analyze/improvements`: what could be better about a registered MCP."""

from fastapi import APIRouter, status

from api.dependencies import PartsDep
from api.v1.analysis.asking import Analyser, start_analysis
from api.v1.mcps.lookup import find_mcp
from api.v1.tasks import TaskAccepted
from mcp_platform.contracts.access import Permission
from mcp_platform.contracts.improvements import AnalyzeImprovements, ImprovementOrder
from mcp_platform.contracts.tasks import TaskKind
from workflows.improvements import ImprovementWorkflow

router = APIRouter(prefix="/analyze", tags=["Analysis"])


@router.post("/improvements", status_code=status.HTTP_202_ACCEPTED)
async def analyze_improvements(order: AnalyzeImprovements, caller: Analyser, parts: PartsDep) -> TaskAccepted:
    """Start looking for what could be better about an MCP; the suggestions are read from the task."""
    mcp = await find_mcp(parts, order.tool_id, caller)
    return await start_analysis(
        parts,
        caller,
        TaskKind.IMPROVEMENTS,
        order.model_dump(mode="json"),
        ImprovementWorkflow.run,
        lambda task_id: ImprovementOrder(
            task_id=task_id,
            mcp_id=mcp.id,
            owner_id=caller.user_id,
            engine=order.engine,
            # Somebody else's command is nothing that the caller chose to run.
            may_run_commands=(
                Permission.DEPLOYMENTS_PROCESS in caller.permissions and mcp.author_id == caller.user_id
            ),
        ),
        "Improvement analysis queued for processing",
        order.engine,
    )
