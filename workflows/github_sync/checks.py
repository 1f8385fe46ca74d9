"""Checks of pull requests that change definitions: judged, never started."""

from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError, ChildWorkflowError, is_cancelled_exception

from activities.github_sync.checks import PullRequestActivities
from activities.github_sync.notes import NoteActivities
from mcp_platform.contracts.analysis import Feasibility, FeasibilityOrder
from mcp_platform.contracts.merging import (
    CheckFound,
    CheckNote,
    CheckOrder,
    CheckReport,
    CheckStep,
    CheckVerdict,
    PullRequestEvent,
)
from mcp_platform.contracts.models import EngineChoice
from mcp_platform.contracts.tasks import TaskStatus
from mcp_platform.names import CHECK_AGAIN, CHECK_WORKFLOW, check_workflow_id
from workflows.analysis import FeasibilityWorkflow
from workflows.cancelling import CANCELLATIONS, are_heard
from workflows.failures import reason_of
from workflows.policies import QUICK, WRITING_REPOSITORY
from workflows.tasks import TaskWorkflow


async def check_pull_request(event: PullRequestEvent) -> None:
    """Have a pull request checked, by a workflow of its own; it is not waited for."""
    await workflow.execute_activity_method(PullRequestActivities.begin, event, **QUICK)


@workflow.defn(name=CHECK_WORKFLOW)
class CheckPullRequestWorkflow(TaskWorkflow):
    """Judge the definitions of a pull request, and write what came of it onto it: the newest head wins."""

    @workflow.init
    def __init__(self, order: CheckOrder) -> None:
        super().__init__()
        self._again = False

    @workflow.signal(name=CHECK_AGAIN)
    def again(self) -> None:
        """Hear that the pull request has another head, or was closed."""
        self._again = True

    @workflow.run
    async def run(self, order: CheckOrder) -> TaskStatus:
        """Answer with the final status, whose result is a `CheckReport` of the newest head."""
        await workflow.execute_activity_method(PullRequestActivities.reopen, order, **QUICK)
        try:
            status = await self._carry_out(lambda: self._steps(order))
        except ApplicationError:
            if not self._again:
                raise
        except CANCELLATIONS:
            # What was heard after the cancellation is none of its business.
            if not (self._again and are_heard()):
                raise
        if self._again:
            workflow.continue_as_new(order)
        return status

    def _drop_requests(self) -> None:
        self._again = False

    async def _steps(self, order: CheckOrder) -> dict[str, Any]:
        step = CheckStep(task_id=_task_id(order), connection_id=order.connection_id, number=order.number)
        while True:
            self._again = False
            self._advance(5, "Reading the pull request")
            found = await workflow.execute_activity_method(
                PullRequestActivities.read, step, **WRITING_REPOSITORY
            )
            if not found.open:
                report = CheckReport(connection_id=order.connection_id, number=order.number, open=False)
                return report.model_dump(mode="json")
            verdicts = await self._verdicts(order, found)
            if verdicts is not None and not self._again:
                self._advance(95, "Writing the comment")
                note = CheckNote(step=step, key=found.key, verdicts=verdicts)
                report = await workflow.execute_activity_method(
                    NoteActivities.check, note, **WRITING_REPOSITORY
                )
                return report.model_dump(mode="json")
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(order)

    async def _verdicts(self, order: CheckOrder, found: CheckFound) -> list[CheckVerdict] | None:
        """Judge one after the other; None when a newer head has come meanwhile."""
        verdicts: list[CheckVerdict] = []
        for place, idea_key in sorted(found.ideas.items()):
            self._advance(
                10 + 80 * len(verdicts) // len(found.ideas),
                f"Judging {len(verdicts) + 1} of {len(found.ideas)} definitions",
            )
            verdicts.append(await self._verdict(order, found, place, idea_key))
            if self._again:
                return None
        return verdicts

    async def _verdict(self, order: CheckOrder, found: CheckFound, place: int, idea_key: str) -> CheckVerdict:
        task_id = _task_id(order)
        try:
            status = await workflow.execute_child_workflow(
                FeasibilityWorkflow.run,
                FeasibilityOrder(
                    task_id=task_id,
                    idea_key=idea_key,
                    owner_id=order.owner_id,
                    # A pull request is somebody else's act: it costs the owner no model.
                    engine=EngineChoice.RULES,
                    tries=False,
                    # It goes to GitHub, whose readers other MCPs and documents are no business of.
                    reads_mcps=False,
                    reads_knowledge=False,
                    recorded=False,
                ),
                id=f"{task_id}-judge-{found.head[:12]}-{place}",
            )
        except ChildWorkflowError as error:
            if is_cancelled_exception(error):
                raise
            return CheckVerdict(place=place, reason=reason_of(error))
        verdict = Feasibility.model_validate(status.result)
        return CheckVerdict(
            place=place,
            score=verdict.score,
            feasible=verdict.is_feasible,
            engine=verdict.engine,
            reasoning=verdict.reasoning,
            risks=verdict.risks,
            recommendations=verdict.recommendations,
        )


def _task_id(order: CheckOrder) -> str:
    return check_workflow_id(order.connection_id, order.number)
