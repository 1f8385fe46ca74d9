"""Deploy on merge: what a push has changed is judged, and rolled out with the deployments' health gate."""

import asyncio
from typing import Any, Final

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, ChildWorkflowError, is_cancelled_exception

from activities.github_sync.notes import NoteActivities
from activities.github_sync.rollouts import RolloutActivities
from mcp_platform.contracts.analysis import Feasibility, FeasibilityOrder
from mcp_platform.contracts.merging import (
    DeployedMcp,
    DeployNote,
    DeployOrder,
    DeployOutcome,
    DeployReport,
    DeployStep,
    Judgement,
    MergedPush,
)
from mcp_platform.contracts.models import EngineChoice
from mcp_platform.contracts.tasks import TaskStatus
from mcp_platform.names import DEPLOY_PUSH, DEPLOY_WORKFLOW, deploy_workflow_id
from workflows.analysis import FeasibilityWorkflow
from workflows.cancelling import CANCELLATIONS, are_heard
from workflows.failures import reason_of
from workflows.policies import QUICK, ROLLING_OUT, SETTLING, WRITING_REPOSITORY
from workflows.tasks import TaskWorkflow

_AT_ONCE: Final = 5
"""MCPs of one push that are deployed at a time."""
_RISKS_TOLD: Final = 5


async def deploy_merged(push: MergedPush) -> None:
    """Have a push deployed, by the connection's own workflow; it is not waited for."""
    await workflow.execute_activity_method(RolloutActivities.begin, push, **QUICK)


@workflow.defn(name=DEPLOY_WORKFLOW)
class DeployMergedWorkflow(TaskWorkflow):
    """Deploy one push after the other; of those that wait only the newest one's commit counts."""

    @workflow.init
    def __init__(self, order: DeployOrder) -> None:
        super().__init__()
        self._waiting = order.waiting

    @workflow.signal(name=DEPLOY_PUSH)
    def push(self, push: MergedPush) -> None:
        """Hear of a push. What an earlier one changed that nobody has deployed yet is a part of it."""
        before = self._waiting.mcp_ids if self._waiting else []
        self._waiting = push.model_copy(update={"mcp_ids": list(dict.fromkeys([*before, *push.mcp_ids]))})

    @workflow.run
    async def run(self, order: DeployOrder) -> TaskStatus:
        """Answer with the final status, whose result is a `DeployReport` of the newest commit."""
        await workflow.execute_activity_method(RolloutActivities.reopen, order, **QUICK)
        try:
            status = await self._carry_out(lambda: self._steps(order))
        except ApplicationError:
            if self._waiting is None:
                raise
        except CANCELLATIONS:
            # What was pushed after the cancellation is none of its business.
            if self._waiting is None or not are_heard():
                raise
        if self._waiting is not None:
            workflow.continue_as_new(order.model_copy(update={"waiting": self._waiting}))
        return status

    def _drop_requests(self) -> None:
        self._waiting = None

    async def _steps(self, order: DeployOrder) -> dict[str, Any]:
        report: DeployReport | None = None
        while self._waiting is not None and not workflow.info().is_continue_as_new_suggested():
            push, self._waiting = self._waiting, None
            report = await self._deploy(push)
        return report.model_dump(mode="json") if report else {}

    async def _deploy(self, push: MergedPush) -> DeployReport:
        self._advance(5, "Telling the commit")
        note = DeployNote(connection_id=push.connection_id, commit=push.commit)
        await self._note(note)
        done: list[DeployedMcp] = []
        for start in range(0, len(push.mcp_ids), _AT_ONCE):
            self._advance(
                10 + 80 * start // len(push.mcp_ids), f"Deploying {start + 1} of {len(push.mcp_ids)} MCPs"
            )
            several = push.mcp_ids[start : start + _AT_ONCE]
            done += await asyncio.gather(*(self._one(_step(push, mcp_id)) for mcp_id in several))
        report = DeployReport(connection_id=push.connection_id, commit=push.commit, mcps=done)
        self._advance(95, "Telling the commit what came of it")
        commented = await self._note(note.model_copy(update={"report": report}))
        return report.model_copy(update={"commented": commented})

    async def _note(self, note: DeployNote) -> bool:
        """Tell the commit; that it cannot be told changes nothing about what runs."""
        try:
            return await workflow.execute_activity_method(NoteActivities.deploy, note, **WRITING_REPOSITORY)
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            workflow.logger.warning("commit_not_told: %s", reason_of(error))
            return False

    async def _one(self, step: DeployStep) -> DeployedMcp:
        """Judge one MCP and roll it out; its failure is nobody else's."""
        told = DeployedMcp(mcp_id=step.mcp_id, slug="", version="", outcome=DeployOutcome.FAILED)
        try:
            judged = await workflow.execute_activity_method(RolloutActivities.prepare, step, **QUICK)
            told = told.model_copy(update={"slug": judged.slug, "version": judged.version})
            reason = await self._objection(step, judged)
            if reason is not None:
                changes = {"outcome": DeployOutcome.NOT_FEASIBLE, "reason": reason}
                return told.model_copy(update=changes)
            return await self._roll_out(step, told)
        except (ActivityError, ChildWorkflowError) as error:
            if is_cancelled_exception(error):
                raise
            return told.model_copy(update={"reason": reason_of(error)})

    async def _objection(self, step: DeployStep, judged: Judgement) -> str | None:
        """Say why an MCP is not feasible; None if it is."""
        status = await workflow.execute_child_workflow(
            FeasibilityWorkflow.run,
            FeasibilityOrder(
                task_id=step.task_id,
                idea_key=judged.idea_key,
                owner_id=step.owner_id,
                # A push is somebody else's act: it costs the owner no model, and waits for no budget.
                engine=EngineChoice.RULES,
                tries=False,
                # The verdict goes to GitHub: other MCPs and documents are none of its readers' business.
                reads_mcps=False,
                reads_knowledge=False,
                of_mcp=step.mcp_id,
                recorded=False,
            ),
            id=f"{step.task_id}-judge-{step.commit[:12]}-{step.mcp_id}",
        )
        verdict = Feasibility.model_validate(status.result)
        if verdict.is_feasible:
            return None
        risks = "; ".join(verdict.risks[:_RISKS_TOLD])
        return f"{verdict.reasoning} Risks: {risks}" if risks else verdict.reasoning

    async def _roll_out(self, step: DeployStep, told: DeployedMcp) -> DeployedMcp:
        begun = await workflow.execute_activity_method(RolloutActivities.roll_out, step, **ROLLING_OUT)
        ended = await workflow.execute_activity_method(RolloutActivities.settle, begun, **SETTLING)
        outcome = DeployOutcome.DEPLOYED
        if not ended.healthy:
            outcome = DeployOutcome.ROLLED_BACK if ended.rolled_back else DeployOutcome.FAILED
        return told.model_copy(
            update={
                "outcome": outcome,
                "reason": ended.reason,
                "deployment_id": begun.deployment_id,
                "revision": begun.revision,
            }
        )


def _step(push: MergedPush, mcp_id: Any) -> DeployStep:
    return DeployStep(
        task_id=deploy_workflow_id(push.connection_id),
        connection_id=push.connection_id,
        owner_id=push.owner_id,
        commit=push.commit,
        mcp_id=mcp_id,
    )
