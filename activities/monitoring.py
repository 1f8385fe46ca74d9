"""Finding what a crash left behind: open records without a workflow, replicas without an owner."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import structlog
from temporalio import activity
from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from activities.drivers import DriverUnavailable
from activities.heartbeat import beating
from mcp_platform.contracts.audit import AuditEvent, AuditOutcome
from mcp_platform.contracts.deployments import (
    Deployment,
    DeploymentOrder,
    DeploymentReport,
    Driver,
    Findings,
    ReplicaState,
    RevisionContent,
)
from mcp_platform.contracts.knowledge import indexing_task
from mcp_platform.contracts.tasks import TaskRecord, TaskState
from mcp_platform.errors import Unavailable
from mcp_platform.names import Collection, deployment_workflow_id, indexing_workflow_id

if TYPE_CHECKING:
    from temporalio.client import Client

    from activities.deployments import DeploymentActivities
    from activities.drivers import ReplicaDriver
    from activities.knowledge import KnowledgeActivities
    from storage.logs import LogBook
    from storage.sql.audit import AuditLog
    from storage.stores import Stores

logger = structlog.get_logger(__name__)

_GRACE = timedelta(seconds=30)
"""A record younger than this may belong to a request that is still being handled."""
_DOCUMENT_GRACE = timedelta(days=1)
"""The same for documents, which are written before the row that points to them."""
_PAGE = 500
_CALLS_AT_ONCE = 2000
_DOCUMENTS_AT_ONCE = 100
"""Documents whose indexing one reconciliation begins."""

_OPEN = (WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.CONTINUED_AS_NEW)


class MonitoringActivities:
    """Compares records with Temporal and with this machine's processes."""

    def __init__(
        self,
        stores: Stores,
        temporal: Client,
        drivers: Mapping[Driver, ReplicaDriver],
        order_of: Callable[[Deployment, RevisionContent], DeploymentOrder],
        audit: AuditLog,
        audit_days: int,
        knowledge: KnowledgeActivities,
        records: DeploymentActivities,
        logs: LogBook,
        call_days: int,
    ) -> None:
        self._stores = stores
        self._temporal = temporal
        self._drivers = drivers
        self._records = records
        self._order_of = order_of
        self._audit = audit
        self._audit_days = audit_days
        self._knowledge = knowledge
        self._logs = logs
        self._call_days = call_days

    @activity.defn(name="monitoring.reconcile")
    async def reconcile(self) -> Findings:
        """Settle and end what is lost; answer with what was found."""
        to_start, ended = await self._lost_deployments()
        findings = Findings(
            deployments_to_start=to_start,
            deployments_ended=ended,
            documents_to_index=await self._lost_documents(),
            model_to_embed=await self._knowledge.model_to_embed(),
            tasks_settled=await self._lost_tasks(),
            replicas_ended=await self.sweep_replicas(),
        )
        # A model to embed is no damage: so begins each first start.
        if findings.model_copy(update={"model_to_embed": None}) != Findings():
            logger.warning("reconciled", findings=findings.model_dump(mode="json"))
        return findings

    @activity.defn(name="monitoring.sweep_documents")
    async def sweep_documents(self) -> int:
        """Delete what is past its time, and old documents that no row points to; count the documents."""
        deleted = 0
        async with beating():
            async with self._stores.write() as rows:
                await rows.refresh_tokens.delete_expired(datetime.now(UTC))
                await rows.grants.delete_expired(datetime.now(UTC))
                await rows.failures.forget_old(datetime.now(UTC))
                await rows.connections.forget_unfinished(datetime.now(UTC) - _DOCUMENT_GRACE)
            for collection in Collection:
                async for keys in self._old_keys(collection):
                    async with self._stores.read() as rows:
                        if collection is Collection.CONFIGS:
                            used = await rows.mcps.used_configs(keys)
                        elif collection is Collection.KNOWLEDGE:
                            used = await rows.knowledge.used_contents(keys)
                        elif collection is Collection.RESULTS:
                            # A task that runs again points to its newest result.
                            used = await rows.tasks.used_results(keys)
                        else:
                            # What belongs to a step of a task has the task's id before a slash.
                            tasks = await rows.tasks.known({key.partition("/")[0] for key in keys})
                            used = {key for key in keys if key.partition("/")[0] in tasks}
                    for key in set(keys) - used:
                        await self._stores.documents.delete(collection, key)
                        deleted += 1
            await self._forget_audit()
            await self._forget_figures()
            await self._forget_calls()
            await self._forget_logs()
            await self._knowledge.sweep_embeddings()
        if deleted:
            logger.info("documents_swept", count=deleted)
        return deleted

    async def _forget_audit(self) -> None:
        if self._audit_days == 0:
            return
        forgotten = await self._audit.forget(datetime.now(UTC) - timedelta(days=self._audit_days))
        if forgotten:
            logger.info("audit_entries_forgotten", count=forgotten)

    async def _forget_figures(self) -> None:
        async with self._stores.read() as rows:
            deployment_ids = await rows.figures.deployment_ids()
        for deployment_id in deployment_ids:
            async with self._stores.write() as rows:
                await rows.figures.forget_old(deployment_id, datetime.now(UTC))

    async def _forget_calls(self) -> None:
        """Remove what is past its time of the journal, some at a time, and of the figures of tools."""
        async with self._stores.write() as rows:
            await rows.tool_figures.forget_old(datetime.now(UTC))
            await rows.model_usage.forget_old(datetime.now(UTC))
        if self._call_days == 0:
            return
        before, total = datetime.now(UTC) - timedelta(days=self._call_days), 0
        while True:
            async with self._stores.write() as rows:
                forgotten = await rows.calls.forget(before, _CALLS_AT_ONCE)
            total += forgotten
            if forgotten < _CALLS_AT_ONCE:
                break
        if total:
            logger.info("calls_forgotten", count=total)

    async def _forget_logs(self) -> None:
        """Remove what was written by replicas of deployments that are gone, and what is past its time."""
        for deployment_id in await self._logs.deployments():
            async with self._stores.read() as rows:
                gone = await rows.deployments.get(deployment_id) is None
            if gone:
                await self._logs.forget(deployment_id)
        await self._logs.prune()

    async def _old_keys(self, collection: Collection) -> AsyncIterator[list[str]]:
        before = datetime.now(UTC) - _DOCUMENT_GRACE
        after = ""
        while keys := await self._stores.documents.keys_older_than(collection, before, _PAGE, after):
            yield keys
            after = keys[-1]

    async def sweep_replicas(self) -> list[UUID]:
        """End replicas of this platform that no deployment owns: processes, containers and services."""
        async with self._stores.read() as rows:
            wanted = await rows.deployments.live_replica_ids()
        try:
            wanted |= await self._stores.trials.replica_ids()
        except Unavailable as away:
            # Which trials go on is not known: the next minute knows more.
            logger.warning("replicas_not_swept", reason=str(away))
            return []
        ended: list[UUID] = []
        for kind, driver in self._drivers.items():
            try:
                found = await driver.sweep(wanted, older_than=_GRACE.total_seconds())
            except DriverUnavailable as away:
                logger.debug("driver_not_swept", driver=kind, reason=str(away))
                continue
            if found:
                await self._audit.append([_ended_without_owner(kind, replica_id) for replica_id in found])
            ended += found
        return ended

    async def forget_lost_replicas(self) -> None:
        """Take replicas that died while no worker watched out of rotation, before anything runs.

        Of processes only for the start of the one worker that they have on this machine. Where an engine
        is away nothing is known, and nothing changed.
        """
        async with self._stores.read() as rows:
            active = await rows.deployments.active()
        for kind in {deployment.driver for deployment in active} & (set(self._drivers) - {Driver.REMOTE}):
            try:
                living = await self._drivers[kind].living()
            except DriverUnavailable as away:
                logger.warning("replicas_not_looked_at", driver=kind, reason=str(away))
                continue
            for deployment in active:
                if deployment.driver is kind:
                    await self._forget_all_but(living, deployment)

    async def _forget_all_but(self, living: set[UUID], deployment: Deployment) -> None:
        async with self._stores.write() as rows:
            for replica in await rows.deployments.replicas(deployment.id):
                if replica.state is ReplicaState.HEALTHY and replica.id not in living:
                    await rows.deployments.lose_replica(replica.id, "it ended while no worker watched it", [])

    async def _lost_deployments(self) -> tuple[list[DeploymentOrder], list[UUID]]:
        async with self._stores.read() as rows:
            active = await rows.deployments.active()
        to_start: list[DeploymentOrder] = []
        ended: list[UUID] = []
        for deployment in active:
            if datetime.now(UTC) - deployment.deployed_at < _GRACE:
                continue
            found = await self._workflow_status(deployment_workflow_id(deployment.id))
            if found is None:
                async with self._stores.read() as rows:
                    revision = await rows.revisions.get(deployment.id, deployment.revision)
                    newest = await rows.revisions.list(deployment.id, limit=1)
                if revision is not None:
                    order = self._order_of(deployment, revision)
                    # A number that was given once is not given again.
                    to_start.append(order.model_copy(update={"latest_revision": newest[0].number}))
            elif found not in _OPEN:
                await self._end(deployment, f"its workflow was ended from outside ({found.name.lower()})")
                ended.append(deployment.id)
        return to_start, ended

    async def _end(self, deployment: Deployment, reason: str) -> None:
        report = DeploymentReport.stopped(deployment, reason)
        await self._records.record(report)

    async def _lost_documents(self) -> list[UUID]:
        """Find documents that nobody indexes; their tasks begin anew, and are not lost ones then."""
        lost: list[UUID] = []
        async with self._stores.read() as rows:
            documents = await rows.knowledge.unindexed(datetime.now(UTC) - _GRACE, _DOCUMENTS_AT_ONCE)
        for document in documents:
            if await self._workflow_status(indexing_workflow_id(document.id)) in _OPEN:
                continue
            async with self._stores.write() as rows:
                await rows.tasks.reopen(indexing_task(document, datetime.now(UTC)))
            lost.append(document.id)
        return lost

    async def _lost_tasks(self) -> list[str]:
        async with self._stores.read() as rows:
            tasks = await rows.tasks.open_tasks()
        settled: list[str] = []
        for task in tasks:
            if datetime.now(UTC) - task.created_at < _GRACE:
                continue
            found = await self._workflow_status(task.task_id)
            if found not in _OPEN:
                await self._settle(task, found)
                settled.append(task.task_id)
        return settled

    async def _settle(self, task: TaskRecord, found: WorkflowExecutionStatus | None) -> None:
        status = TaskState.CANCELLED if found is WorkflowExecutionStatus.CANCELED else TaskState.FAILED
        error = (
            f"its workflow was ended from outside ({found.name.lower()})" if found else "it was never started"
        )
        async with self._stores.write() as rows:
            await rows.tasks.settle(
                task.task_id,
                status=status,
                message=status.value.capitalize(),
                error=error,
                result_key=None,
                progress=task.progress,
                completed_at=datetime.now(UTC),
            )

    async def _workflow_status(self, workflow_id: str) -> WorkflowExecutionStatus | None:
        """None if Temporal knows no such workflow."""
        try:
            description = await self._temporal.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise
        return description.status


def _ended_without_owner(driver: Driver, replica_id: UUID) -> AuditEvent:
    return AuditEvent(
        at=datetime.now(UTC),
        actor_name="platform",
        action="deployments.orphan_ended",
        resource_type="replica",
        resource_id=str(replica_id),
        outcome=AuditOutcome.SUCCESS,
        status=0,
        details={"driver": driver.value},
    )
