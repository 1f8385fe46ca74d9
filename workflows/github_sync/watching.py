"""Looking after repositories that no webhook tells of."""

from temporalio import workflow

from activities.github_sync.drift import DriftActivities
from mcp_platform.contracts.merging import HeadsSeen
from workflows.policies import SWEEPING


@workflow.defn(name="github.watch_heads")
class WatchHeadsWorkflow:
    """One look at the heads of their branches."""

    @workflow.run
    async def run(self) -> HeadsSeen:
        """Answer with how many were asked about, and how many had moved."""
        return await workflow.execute_activity_method(DriftActivities.watch_heads, **SWEEPING)
