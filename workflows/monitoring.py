"""Comparing the records with the truth every minute, and clearing away what is left once a day."""

import asyncio
from uuid import UUID

from temporalio import workflow
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

from activities.images import ImageActivities
from activities.monitoring import MonitoringActivities
from mcp_platform.contracts.deployments import DeploymentOrder, Findings
from mcp_platform.contracts.knowledge import IndexOrder, ReembedOrder
from mcp_platform.names import deployment_workflow_id, indexing_workflow_id, reembed_workflow_id
from workflows.deployments import DeploymentWorkflow
from workflows.knowledge import IndexDocumentWorkflow, ReembedWorkflow
from workflows.policies import RECONCILING, SWEEPING, SWEEPING_IMAGES


@workflow.defn(name="monitoring.reconcile")
class ReconcileWorkflow:
    """Find what a crash left half-done, and finish or end it."""

    @workflow.run
    async def run(self) -> Findings:
        """Answer with what was found; usually nothing."""
        findings = await workflow.execute_activity_method(MonitoringActivities.reconcile, **RECONCILING)
        await asyncio.gather(*(self._start(order) for order in findings.deployments_to_start))
        await asyncio.gather(*(self._index(document_id) for document_id in findings.documents_to_index))
        if findings.model_to_embed:
            await self._reembed(findings.model_to_embed)
        return findings

    async def _index(self, document_id: UUID) -> None:
        try:
            await workflow.start_child_workflow(
                IndexDocumentWorkflow.run,
                IndexOrder(document_id=document_id),
                id=indexing_workflow_id(document_id),
                parent_close_policy=ParentClosePolicy.ABANDON,
            )
        except WorkflowAlreadyStartedError:
            workflow.logger.info("indexing was started meanwhile: %s", document_id)

    async def _reembed(self, model: str) -> None:
        try:
            await workflow.start_child_workflow(
                ReembedWorkflow.run,
                ReembedOrder(model=model),
                id=reembed_workflow_id(model),
                parent_close_policy=ParentClosePolicy.ABANDON,
            )
        except WorkflowAlreadyStartedError:
            workflow.logger.info("passages are being embedded already")

    async def _start(self, order: DeploymentOrder) -> None:
        try:
            await workflow.start_child_workflow(
                DeploymentWorkflow.run,
                order,
                id=deployment_workflow_id(order.deployment_id),
                parent_close_policy=ParentClosePolicy.ABANDON,
            )
        except WorkflowAlreadyStartedError:
            workflow.logger.info("deployment was started meanwhile: %s", order.deployment_id)


@workflow.defn(name="monitoring.sweep")
class SweepWorkflow:
    """Remove what nothing points to any more, once a day."""

    @workflow.run
    async def run(self) -> int:
        """Answer with how many documents were removed."""
        removed = await workflow.execute_activity_method(MonitoringActivities.sweep_documents, **SWEEPING)
        if workflow.patched("sweep-images"):
            await workflow.execute_activity_method(ImageActivities.sweep, **SWEEPING_IMAGES)
        return removed
