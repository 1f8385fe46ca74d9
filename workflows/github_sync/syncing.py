"""Keeping MCPs in step with a branch of a repository."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from activities.github_sync.pushing import PushActivities
from activities.github_sync.syncing import SyncActivities
from mcp_platform.contracts.github import ChangeOutcome, DefinitionReport, SyncCause, SyncOrder, SyncReport
from mcp_platform.contracts.merging import MergedPush
from mcp_platform.contracts.pushing import MootOrder
from mcp_platform.contracts.repositories import FaultKind
from mcp_platform.contracts.syncing import FinishOrder, PlanMade, SyncRequest, SyncStep, WriteOrder
from mcp_platform.contracts.tasks import TaskStatus
from mcp_platform.names import SYNC_AGAIN, SYNC_WORKFLOW
from workflows.cancelling import CANCELLATIONS, are_heard
from workflows.failures import reason_of
from workflows.github_sync.deploying import deploy_merged
from workflows.policies import LEAVING, QUICK, READING_REPOSITORY
from workflows.tasks import TaskWorkflow

_MOST_WAITS: Final = 24
"""Rate limits that one reading waits for: each lasts an hour at most."""
_LONGEST_OUTAGE: Final = timedelta(hours=1)
_LONGEST_PAUSE: Final = timedelta(seconds=30)
_WRITTEN: Final = frozenset({ChangeOutcome.ADDED, ChangeOutcome.CHANGED})


@workflow.defn(name=SYNC_WORKFLOW)
class SyncWorkflow(TaskWorkflow):
    """Read the branch's head and bring the MCPs in step; once more when it was asked for meanwhile."""

    @workflow.init
    def __init__(self, order: SyncOrder) -> None:
        super().__init__()
        self._asked: SyncRequest | None = None

    @workflow.signal(name=SYNC_AGAIN)
    def again(self, request: SyncRequest) -> None:
        """Hear that somebody asks for a sync, or that the branch has moved."""
        self._asked = _both(self._asked, request)

    @workflow.run
    async def run(self, order: SyncOrder) -> TaskStatus:
        """Answer with the final status, whose result is a `SyncReport` of the newest commit."""
        # A sync that was asked for while the one before was ending has a task that is recorded as ended.
        reopening = SyncStep(connection_id=order.connection_id, key="")
        await workflow.execute_activity_method(SyncActivities.reopen, reopening, **QUICK)
        try:
            status = await self._carry_out(lambda: self._steps(order))
        except ApplicationError:
            if self._asked is not None:
                workflow.continue_as_new(_next(order, _both(_request(order), self._asked)))
            raise
        except CANCELLATIONS:
            # What was asked for after the cancellation is none of its business.
            if self._asked is None or not are_heard():
                raise
        if self._asked is not None:
            workflow.continue_as_new(_next(order, self._asked))
        return status

    async def _steps(self, order: SyncOrder) -> dict[str, Any]:
        """Sync until nobody has asked for one more meanwhile."""
        request, number = _both(self._take(), _request(order)), 0
        while True:
            report = await self._sync(order, request, number)
            if request.deploy:
                await self._deploy(order, report)
            more = self._take()
            if more is None:
                return report.model_dump(mode="json")
            request, number = more, number + 1
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(_next(order, request))

    def _drop_requests(self) -> None:
        self._asked = None

    def _closing(self, result: dict[str, Any]) -> str:
        return str(result["message"]) or super()._closing(result)

    async def _deploy(self, order: SyncOrder, report: SyncReport) -> None:
        """Hand what a push changed over to the workflow that rolls it out."""
        changed = [each.mcp_id for each in report.definitions if each.outcome in _WRITTEN and each.mcp_id]
        if changed:
            push = MergedPush(
                connection_id=order.connection_id,
                owner_id=order.owner_id,
                commit=report.commit,
                mcp_ids=changed,
            )
            await deploy_merged(push)

    async def _close_moot(self, order: SyncOrder, written: list[DefinitionReport]) -> None:
        """Close pull requests of the platform with what the repository says by now; no sync fails by it."""
        same = [each.mcp_id for each in written if each.mcp_id and _is_same(each)]
        if not same or not workflow.patched("close-moot-pull-requests"):
            return
        self._advance(95, "Closing pull requests that have nothing to merge any more")
        moot = MootOrder(connection_id=order.connection_id, mcp_ids=same)
        try:
            await workflow.execute_activity_method(PushActivities.close_moot, moot, **LEAVING)
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            workflow.logger.warning("moot_pull_requests_not_closed: %s", reason_of(error))

    def _take(self) -> SyncRequest | None:
        asked, self._asked = self._asked, None
        return asked

    async def _sync(self, order: SyncOrder, request: SyncRequest, number: int) -> SyncReport:
        step = SyncStep(
            connection_id=order.connection_id,
            key=f"{workflow.info().workflow_id}/{workflow.info().run_id}-{number}",
            force=request.force,
        )
        plan = await self._read(step)
        written: list[DefinitionReport] = []
        for place in range(plan.to_write):
            self._advance(
                40 + 50 * place // plan.to_write, f"Writing {place + 1} of {plan.to_write} definitions"
            )
            write = WriteOrder(**step.model_dump(), place=place)
            written.append(await workflow.execute_activity_method(SyncActivities.write, write, **QUICK))
        self._advance(90, "Recording what was done")
        finish = FinishOrder(**step.model_dump(), written=written)
        report = await workflow.execute_activity_method(SyncActivities.finish, finish, **QUICK)
        await workflow.execute_activity_method(SyncActivities.forget, step, **QUICK)
        await self._close_moot(order, written)
        return report

    async def _read(self, step: SyncStep) -> PlanMade:
        """Read the repository; while GitHub does not let it, wait, and say why and until when."""
        pauses = _Pauses()
        while True:
            self._advance(5, pauses.reading)
            try:
                return await workflow.execute_activity_method(SyncActivities.read, step, **READING_REPOSITORY)
            except ActivityError as error:
                until = pauses.until(error)
                if until is None:
                    raise
            self._advance(5, pauses.message)
            await workflow.sleep(max(until - workflow.now(), timedelta()))


class _Pauses:
    """When GitHub is asked again by one reading, which it does not let go on now."""

    def __init__(self) -> None:
        self.reading = "Reading the repository"
        self.message = ""
        self._limits = 0
        self._outage: datetime | None = None
        """Since when it does not answer."""
        self._pause = timedelta(seconds=1)

    def until(self, error: ActivityError) -> datetime | None:
        """Tell until when to wait; None where waiting is of no use, or has been tried for long enough."""
        cause = error.cause
        if not isinstance(cause, ApplicationError):
            return None
        if cause.type == FaultKind.RATE_LIMITED.value and cause.details:
            return self._limited(datetime.fromisoformat(cause.details[0]).astimezone(UTC))
        if cause.type in {FaultKind.UNAVAILABLE.value, FaultKind.RATE_LIMITED.value}:
            return self._away(cause.message)
        return None

    def _limited(self, until: datetime) -> datetime | None:
        self._limits += 1
        # GitHub answers.
        self._outage, self._pause = None, timedelta(seconds=1)
        self.message = f"GitHub's rate limit is used up; it goes on at {until:%Y-%m-%dT%H:%M:%SZ}"
        return until + timedelta(seconds=1) if self._limits <= _MOST_WAITS else None

    def _away(self, why: str) -> datetime | None:
        now = workflow.now()
        self._outage = self._outage or now
        until = now + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        self.reading = f"Reading the repository again, after: {why}"
        self.message = f"{why}; it is asked again at {until:%Y-%m-%dT%H:%M:%SZ}"
        return until if until - self._outage <= _LONGEST_OUTAGE else None


def _is_same(definition: DefinitionReport) -> bool:
    """Tell whether an MCP that was there before says what the repository says."""
    if definition.outcome is ChangeOutcome.UNCHANGED:
        return definition.reason is None
    return definition.outcome is ChangeOutcome.CHANGED


def _request(order: SyncOrder) -> SyncRequest:
    return SyncRequest(cause=order.cause, deploy=order.deploy, force=order.force)


def _next(order: SyncOrder, request: SyncRequest) -> SyncOrder:
    return order.model_copy(update=request.model_dump())


def _both(one: SyncRequest | None, other: SyncRequest) -> SyncRequest:
    """Make one request of two that are answered by one sync."""
    if one is None:
        return other
    pushed = SyncCause.PUSH in (one.cause, other.cause)
    return SyncRequest(
        cause=SyncCause.PUSH if pushed else SyncCause.REQUEST,
        deploy=one.deploy or other.deploy,
        force=one.force or other.force,
    )
