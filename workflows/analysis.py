"""Judging an idea before anybody builds it."""

from typing import Any

from temporalio import workflow

from activities.analysis import AnalysisActivities
from mcp_platform.contracts.analysis import FeasibilityOrder, JudgeOrder
from mcp_platform.contracts.tasks import TaskStatus
from workflows.policies import READING, THOUGHTFUL
from workflows.tasks import TaskWorkflow


@workflow.defn(name="analysis.feasibility")
class FeasibilityWorkflow(TaskWorkflow):
    """Understand the idea, find what is known of it, judge it."""

    @workflow.run
    async def run(self, order: FeasibilityOrder) -> TaskStatus:
        """Answer with the final status, whose result is a `Feasibility`."""
        return await self._carry_out(lambda: self._steps(order))

    async def _steps(self, order: FeasibilityOrder) -> dict[str, Any]:
        self._advance(5, "Reading the idea")
        facts = await workflow.execute_activity_method(
            AnalysisActivities.understand, order.idea_key, **READING
        )
        self._advance(35, "Looking for MCPs that do the same")
        known = await workflow.execute_activity_method(
            AnalysisActivities.find_known, order.idea_key, **READING
        )
        self._advance(65, "Weighing risks and effort")
        verdict = await workflow.execute_activity_method(
            AnalysisActivities.judge,
            JudgeOrder(idea_key=order.idea_key, facts=facts, known=known),
            **THOUGHTFUL,
        )
        self._advance(95, "Recording the verdict")
        return verdict.model_dump(mode="json")
