"""Comparing the records with the truth every minute, and clearing away what is left once a day."""

import asyncio

from temporalio import workflow
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

from activities.monitoring import MonitoringActivities
from mcp_platform.contracts.deployments import DeploymentOrder, Findings
from mcp_platform.names import deployment_workflow_id
from workflows.deployments import DeploymentWorkflow
from workflows.policies import RECONCILING, SWEEPING


@workflow.defn(name="monitoring.reconcile")
class ReconcileWorkflow:
    """Find what a crash left half-done, and finish or end it."""

    @workflow.run
    async def run(self) -> Findings:
        """Answer with what was found; usually nothing."""
        findings = await workflow.execute_activity_method(MonitoringActivities.reconcile, **RECONCILING)
        await asyncio.gather(*(self._start(order) for order in findings.deployments_to_start))
        return findings

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
        return await workflow.execute_activity_method(MonitoringActivities.sweep_documents, **SWEEPING)
