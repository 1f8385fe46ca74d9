"""What every task's workflow shares: one status, one query, one recorded outcome."""

from collections.abc import Awaitable, Callable
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError, ChildWorkflowError, is_cancelled_exception

from activities.tasks import TaskActivities
from mcp_platform.contracts.tasks import TaskOutcome, TaskState, TaskStatus
from workflows.cancelling import CANCELLATIONS, are_heard, end_if, is_cancelled
from workflows.failures import reason_of
from workflows.policies import QUICK


class TaskWorkflow:
    """Base of workflows that a user watches as a task."""

    def __init__(self) -> None:
        self._status = TaskStatus()

    @workflow.query
    def status(self) -> TaskStatus:
        """Where the task stands; the revision grows with each change."""
        return self._status

    def _advance(self, progress: int, message: str) -> None:
        """Say that the task runs, how much of it is done (percent) and what comes now."""
        self._change(status=TaskState.RUNNING, progress=progress, message=message)

    async def _carry_out(self, steps: Callable[[], Awaitable[dict[str, Any]]]) -> TaskStatus:
        """Run the steps and record what came of them, also when they fail or are cancelled."""
        try:
            await workflow.execute_activity_method(TaskActivities.begin, workflow.info().workflow_id, **QUICK)
            result = await steps()
            end_if(is_cancelled())
        except CANCELLATIONS as error:
            if isinstance(error, ChildWorkflowError) and not are_heard():
                raise
            if is_cancelled_exception(error):
                self._drop_requests()
                # The workflow's own cancellation has been delivered; what follows runs undisturbed.
                await self._conclude(TaskState.CANCELLED, "Cancelled")
                raise
            reason = reason_of(error)
            await self._conclude(TaskState.FAILED, "Failed", error=reason)
            raise ApplicationError(reason, type="TaskFailed") from error
        await self._conclude(TaskState.COMPLETED, self._closing(result), result=result)
        return self._status

    def _closing(self, result: dict[str, Any]) -> str:
        """Say in a few words what came of the task."""
        return "Completed"

    def _drop_requests(self) -> None:
        """Forget what else was asked of the task until it was cancelled: that is cancelled with it."""

    async def _conclude(
        self,
        status: TaskState,
        message: str,
        *,
        result: dict[str, Any] | None = None,
        error: str | None = None,
    ) -> None:
        # Recorded first: whoever sees a final state finds the record of it too.
        outcome = TaskOutcome(
            task_id=workflow.info().workflow_id,
            status=status,
            progress=100 if status is TaskState.COMPLETED else self._status.progress,
            message=message,
            result=result,
            error=error,
        )
        await workflow.execute_activity_method(TaskActivities.conclude, outcome, **QUICK)
        self._change(status=status, progress=outcome.progress, message=message, result=result, error=error)

    def _change(self, **changes: Any) -> None:
        self._status = self._status.model_copy(update={"revision": self._status.revision + 1, **changes})
