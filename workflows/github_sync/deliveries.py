"""Doing what a delivery of GitHub's webhooks asks for, once for each."""

from uuid import UUID

from temporalio import workflow

from activities.github_sync.deliveries import DeliveryActivities
from mcp_platform.contracts.github import BRANCH_GONE, Delivery
from mcp_platform.contracts.merging import PullRequestEvent
from mcp_platform.contracts.syncing import DeliveryOutcome, Handled, InstallationHeard, PushHeard
from workflows.github_sync.checks import check_pull_request
from workflows.policies import QUICK


@workflow.defn(name="github.delivery")
class DeliveryWorkflow:
    """Handle one delivery; its id keeps a repeated one from doing anything twice."""

    @workflow.run
    async def run(self, delivery: Delivery) -> DeliveryOutcome:
        """Answer with what was done for each connection."""
        if delivery.event.startswith("installation"):
            return await self._installation(delivery)
        handled = [
            Handled(connection_id=connection_id, done=await self._handle(delivery, connection_id, owner_id))
            for connection_id, owner_id in sorted(delivery.connections.items())
        ]
        return DeliveryOutcome(handled=handled)

    async def _handle(self, delivery: Delivery, connection_id: UUID, owner_id: UUID) -> str:
        if delivery.pull_request is not None:
            number = delivery.pull_request
            await check_pull_request(
                PullRequestEvent(connection_id=connection_id, owner_id=owner_id, number=number)
            )
            return f"a check of the pull request {number} was begun"
        gone = delivery.action == BRANCH_GONE
        heard = PushHeard(connection_id=connection_id, commit=delivery.commit, gone=gone)
        return await workflow.execute_activity_method(DeliveryActivities.hear_push, heard, **QUICK)

    async def _installation(self, delivery: Delivery) -> DeliveryOutcome:
        ids = sorted(delivery.connections)
        heard = InstallationHeard(connection_ids=ids, refused=delivery.details.get("refused"))
        done = await workflow.execute_activity_method(DeliveryActivities.hear_installation, heard, **QUICK)
        return DeliveryOutcome(handled=[Handled(connection_id=each, done=done) for each in ids])
