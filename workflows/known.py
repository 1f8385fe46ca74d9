"""Keeping the catalogue of known servers in step with the registry."""

from temporalio import workflow

from activities.known import KnownActivities
from mcp_platform.contracts.known import RefreshOutcome
from workflows.policies import REFRESHING_KNOWN


@workflow.defn(name="known.refresh")
class RefreshKnownWorkflow:
    """Read what is new in the registry; one that is away is asked again the next day."""

    @workflow.run
    async def run(self) -> RefreshOutcome:
        """Answer with what was read, and why no more."""
        return await workflow.execute_activity_method(KnownActivities.refresh, **REFRESHING_KNOWN)
