"""Taking the platform's versions of MCPs to their repository."""

from typing import Any

from temporalio import workflow

from activities.github_sync.pushing import PushActivities
from mcp_platform.contracts.pushing import PushedDefinition, PushOrder, PushPlan, PushReport, PushStep
from mcp_platform.contracts.tasks import TaskStatus
from workflows.policies import WRITING_REPOSITORY
from workflows.tasks import TaskWorkflow


@workflow.defn(name="github.push")
class PushWorkflow(TaskWorkflow):
    """Write each MCP that is newer than the repository to a branch, with a pull request for it."""

    @workflow.run
    async def run(self, order: PushOrder) -> TaskStatus:
        """Answer with the final status, whose result is a `PushReport`."""
        return await self._carry_out(lambda: self._steps(order))

    async def _steps(self, order: PushOrder) -> dict[str, Any]:
        self._advance(5, "Looking for what is newer here")
        plan = await workflow.execute_activity_method(PushActivities.plan, order, **WRITING_REPOSITORY)
        written: list[PushedDefinition] = []
        for place, item in enumerate(plan.items):
            self._advance(
                10 + 85 * place // len(plan.items), f"Writing {place + 1} of {len(plan.items)} definitions"
            )
            step = PushStep(
                task_id=order.task_id, connection_id=order.connection_id, commit=plan.commit, item=item
            )
            done = await workflow.execute_activity_method(PushActivities.write, step, **WRITING_REPOSITORY)
            written.append(done)
        return _report(order, plan, written).model_dump(mode="json")


def _report(order: PushOrder, plan: PushPlan, written: list[PushedDefinition]) -> PushReport:
    pushed = [each for each in written if each.pushed]
    others = [each for each in written if not each.pushed]
    same = [each for each in others if not each.refused]
    refused = [each for each in others if each.refused]
    message = f"Pull requests are open for {len(pushed)} of {len(pushed) + len(refused)} MCPs"
    if not pushed and not refused:
        message = "Nothing to push: the repository says what the platform says"
    return PushReport(
        connection_id=order.connection_id,
        commit=plan.commit,
        branch=plan.branch,
        message=message,
        pushed=pushed,
        refused=refused,
        unchanged=plan.unchanged + len(same),
    )
