"""What commits and pull requests are told: one comment that is updated, and a status."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from temporalio import activity

from activities.github_sync.comments import check_comment, deploy_comment, in_short
from activities.github_sync.faults import NOT_ALLOWED
from activities.github_sync.opening import WritingActivities
from mcp_platform.contracts.merging import CheckNote, CheckPlan, CheckReport, DeployNote, DeployOutcome
from mcp_platform.contracts.repositories import GitHubFault, StatusOrder
from mcp_platform.names import Collection

_DEPLOY: Final = "mcp-platform/deploy"
_CHECK: Final = "mcp-platform/feasibility"


class NoteActivities(WritingActivities):
    """Tells GitHub what came of checks and deployments; telling it twice changes nothing."""

    @property
    def steps(self) -> list[Callable[..., Any]]:
        """All of them."""
        return [self.deploy, self.check]

    @activity.defn(name="github.note_deployment")
    async def deploy(self, note: DeployNote) -> bool:
        """Tell a commit how its deployment stands; whether a comment tells of a failure.

        A commit that is deployed gets a status alone, or its earlier comment says so.
        """
        async with self._opened(note.connection_id) as (_, writing):
            mcps = note.report.mcps if note.report else []
            failed = [each for each in mcps if each.outcome is not DeployOutcome.DEPLOYED]
            state = ("failure" if failed else "success") if note.report else "pending"
            await writing.put_status(
                StatusOrder(commit=note.commit, context=_DEPLOY, state=state, description=in_short(note))
            )
            if note.report is None:
                return False
            marker = f"<!-- mcp-platform:deploy {note.connection_id} -->"
            body = f"{marker}\n{deploy_comment(note.report)}"
            told = writing.put_commit_comment(note.commit, marker, body, new=bool(failed))
            return await _allowed(told) and bool(failed)

    @activity.defn(name="github.note_check")
    async def check(self, note: CheckNote) -> CheckReport:
        """Write the verdicts onto a pull request, and the status of its head."""
        step = note.step
        body = await self._stores.documents.get(Collection.SYNC_REPORTS, note.key)
        plan = CheckPlan.model_validate(body)
        state, description, text = check_comment(plan, note.verdicts)
        async with self._opened(step.connection_id) as (_, writing):
            status = False
            if plan.definitions:
                order = StatusOrder(commit=plan.head, context=_CHECK, state=state, description=description)
                status = await writing.put_status(order)
            marker = f"<!-- mcp-platform:check {step.connection_id} -->"
            told = writing.put_comment(step.number, marker, f"{marker}\n{text}", new=bool(plan.definitions))
            commented = await _allowed(told) and bool(plan.definitions)
        return CheckReport(
            connection_id=step.connection_id,
            number=step.number,
            head=plan.head,
            definitions=plan.definitions,
            state=state if plan.definitions else "none",
            commented=commented,
            status_written=status,
        )


async def _allowed(told: Awaitable[bool]) -> bool:
    """Tell whether it could be told: a credential that may not comment is no failure of what it tells."""
    try:
        await told
    except GitHubFault as fault:
        if fault.kind in NOT_ALLOWED:
            return False
        raise
    return True
