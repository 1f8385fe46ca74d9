"""Deploying what a push has changed, for the connection's owner and with the rights they have now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from temporalio import activity
from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError, FailureError
from temporalio.service import RPCError, RPCStatusCode

from activities.github_sync.ideas import idea_of
from activities.heartbeat import beating
from mcp_platform.contracts.audit import AuditEvent, AuditOutcome
from mcp_platform.contracts.deployments import (
    DeploymentOrder,
    DeploymentState,
    Revision,
    RevisionState,
    RolloutOrder,
)
from mcp_platform.contracts.events import Event, EventType
from mcp_platform.contracts.mcps import Mcp
from mcp_platform.contracts.merging import (
    DeployOrder,
    DeployStep,
    Judgement,
    MergedPush,
    RolloutBegun,
    RolloutEnded,
)
from mcp_platform.contracts.tasks import TaskKind, TaskRecord, TaskState
from mcp_platform.errors import PlatformError, Unavailable
from mcp_platform.last_words import last_words, with_last_words
from mcp_platform.names import (
    DEPLOY_PUSH,
    DEPLOY_WORKFLOW,
    Channel,
    Collection,
    TaskQueue,
    deploy_workflow_id,
    deployment_workflow_id,
)

if TYPE_CHECKING:
    from temporalio.client import Client

    from storage.deploying import MergedDeployments
    from storage.sql.audit import AuditLog
    from storage.stores import Stores

_DEPLOYMENT: Final = "deployments.run"
_ROLL_OUT: Final = "roll_out"
"""Workflow and update of deployments; workflows lie above activities, so they are named here."""
_PATIENCE: Final = timedelta(seconds=10)
_LOOKED_EVERY: Final = 0.25
_UP: Final = frozenset(
    {DeploymentState.RUNNING, DeploymentState.ROLLED_BACK, DeploymentState.UPDATING, DeploymentState.IDLE}
)
_DOWN: Final = frozenset({DeploymentState.FAILED, DeploymentState.UNHEALTHY, DeploymentState.DEGRADED})


class _Workflows:
    """The workflows that own deployments, asked by name.

    Args:
        temporal: Where they are.
        request: Tells one roll-out from another: asking twice for the same is asking once.
    """

    def __init__(self, temporal: Client, request: str) -> None:
        self._temporal = temporal
        self._request = request

    async def start(self, order: DeploymentOrder, summary: str) -> None:
        """Start the workflow of a deployment; one that runs already is success."""
        await self._temporal.start_workflow(
            _DEPLOYMENT,
            order,
            id=deployment_workflow_id(order.deployment_id),
            task_queue=TaskQueue.ORCHESTRATION,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary=summary,
        )

    async def roll_out(self, deployment_id: UUID, request: RolloutOrder) -> Revision:
        """Have a deployment rolled out; what is in the way is waited for by the next attempt."""
        handle = self._temporal.get_workflow_handle(deployment_workflow_id(deployment_id))
        try:
            revision: Revision = await handle.execute_update(
                _ROLL_OUT, request, id=self._request, result_type=Revision, rpc_timeout=_PATIENCE
            )
            return revision
        except WorkflowUpdateFailedError as error:
            reason = error.cause.message if isinstance(error.cause, FailureError) else str(error.cause)
            raise ApplicationError(reason, type="Busy") from None
        except WorkflowUpdateRPCTimeoutOrCancelledError:
            raise ApplicationError("no worker has carried it out yet", type="Busy") from None
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            raise ApplicationError("the deployment is stopping", type="Busy") from None


class RolloutActivities:
    """The steps of a deployment on merge; each may be repeated.

    Args:
        stores: Where connections, MCPs and deployments are.
        temporal: Has the workflows that own deployments.
        merged: Deploys for the owners of connections.
        audit: Is told of each roll-out, and of each that was refused.
        patience: Seconds that a new deployment's replica may take until it answers, unless it says itself.
    """

    def __init__(
        self, stores: Stores, temporal: Client, merged: MergedDeployments, audit: AuditLog, patience: float
    ) -> None:
        self._stores = stores
        self._temporal = temporal
        self._merged = merged
        self._audit = audit
        self._patience = patience

    @property
    def steps(self) -> list[Callable[..., Any]]:
        """All of them."""
        return [self.begin, self.reopen, self.prepare, self.roll_out, self.settle]

    @activity.defn(name="github.begin_deploy")
    async def begin(self, push: MergedPush) -> None:
        """Start the connection's workflow for pushes, or tell the one that runs of one more."""
        await self._reopen(push.connection_id, push.owner_id)
        await self._temporal.start_workflow(
            DEPLOY_WORKFLOW,
            DeployOrder(connection_id=push.connection_id, owner_id=push.owner_id),
            id=deploy_workflow_id(push.connection_id),
            task_queue=TaskQueue.ORCHESTRATION,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            start_signal=DEPLOY_PUSH,
            start_signal_args=[push],
            rpc_timeout=_PATIENCE,
        )
        task = {"task_id": deploy_workflow_id(push.connection_id)}
        event = Event(type=EventType.TASK_STARTED, owner_id=push.owner_id, data=task)
        await self._stores.publish(Channel.EVENTS, event)

    @activity.defn(name="github.reopen_deploy")
    async def reopen(self, order: DeployOrder) -> None:
        """Begin the task anew, for a push that came while the one before was being recorded as done."""
        await self._reopen(order.connection_id, order.owner_id)

    @activity.defn(name="github.prepare_judgement")
    async def prepare(self, step: DeployStep) -> Judgement:
        """Write down what is judged: the MCP as it is now."""
        await self._check_owner(step)
        async with self._stores.read() as rows:
            mcp = await rows.mcps.get(step.mcp_id)
        if mcp is None:
            raise ApplicationError("the MCP is gone", type="Gone", non_retryable=True)
        key = f"{step.task_id}/{mcp.id}-{mcp.config_key}"
        await self._stores.documents.put(Collection.IDEAS, key, await self._idea(mcp))
        return Judgement(
            mcp_id=mcp.id,
            slug=mcp.slug,
            version=mcp.version,
            idea_key=key,
        )

    @activity.defn(name="github.roll_out")
    async def roll_out(self, step: DeployStep) -> RolloutBegun:
        """Roll the MCP's deployment out, or begin one; a roll-out of somebody else's is waited for."""
        async with self._stores.read() as rows:
            mcp = await rows.mcps.get(step.mcp_id)
        request = f"github-{step.commit}-{mcp.config_key if mcp else step.mcp_id}"
        try:
            begun = await self._merged.deploy(step, _Workflows(self._temporal, request))
        except PlatformError as error:
            if not isinstance(error, Unavailable):
                await self._audit.append([_audited(step, AuditOutcome.DENIED, {"reason": str(error)})])
            raise _failure(error) from None
        ran = {"deployment_id": str(begun.deployment_id), "revision": begun.revision}
        await self._audit.append([_audited(step, AuditOutcome.SUCCESS, ran)])
        return begun

    @activity.defn(name="github.await_rollout")
    async def settle(self, begun: RolloutBegun) -> RolloutEnded:
        """Wait until it is clear whether the new replicas answer."""
        async with beating():
            waited_since = time.monotonic()
            while True:
                ended = await self._ended(begun, time.monotonic() - waited_since)
                if ended is not None:
                    return ended
                await asyncio.sleep(_LOOKED_EVERY)

    async def _ended(self, begun: RolloutBegun, waited: float) -> RolloutEnded | None:
        async with self._stores.read() as rows:
            deployment = await rows.deployments.get(begun.deployment_id)
            revision = await rows.revisions.get(begun.deployment_id, begun.revision)
        if deployment is None or revision is None or deployment.status is DeploymentState.STOPPED:
            return RolloutEnded(healthy=False, reason="the deployment was stopped meanwhile")
        if revision.state is RevisionState.FAILED:
            return RolloutEnded(healthy=False, rolled_back=True, reason=revision.reason)
        if revision.state is RevisionState.SUPERSEDED:
            return RolloutEnded(healthy=True, reason="a later revision has taken over already")
        if revision.state is RevisionState.PENDING:
            return None
        if begun.revision > 1 or deployment.status in _UP:
            return RolloutEnded(healthy=True)
        patience = deployment.config.health.patience or self._patience
        if deployment.status in _DOWN and waited >= patience:
            # It is tried again, and may be well yet; but whoever merged should know.
            words = await self._last_words(begun.deployment_id)
            return RolloutEnded(healthy=False, reason=with_last_words(deployment.reason, words))
        return None

    async def _last_words(self, deployment_id: UUID) -> str | None:
        async with self._stores.read() as rows:
            replicas = await rows.deployments.replicas(deployment_id)
        return next((words for each in replicas if (words := last_words(each.stderr_tail))), None)

    async def _check_owner(self, step: DeployStep) -> None:
        try:
            await self._merged.owner(step)
        except PlatformError as error:
            raise _failure(error) from None

    async def _idea(self, mcp: Mcp) -> dict[str, object]:
        config = await self._stores.documents.get(Collection.CONFIGS, mcp.config_key) or {}
        return idea_of(mcp.name, mcp.description, config)

    async def _reopen(self, connection_id: UUID, owner_id: UUID) -> None:
        task = TaskRecord(
            task_id=deploy_workflow_id(connection_id),
            kind=TaskKind.GITHUB_DEPLOY,
            owner_id=owner_id,
            status=TaskState.PENDING,
            message="Queued",
            created_at=datetime.now(UTC),
        )
        async with self._stores.write() as rows:
            await rows.tasks.reopen(task)


def _audited(step: DeployStep, outcome: AuditOutcome, details: dict[str, Any]) -> AuditEvent:
    return AuditEvent(
        at=datetime.now(UTC),
        actor_id=step.owner_id,
        actor_name="platform",
        action="github.deploy",
        resource_type="mcp_tool",
        resource_id=str(step.mcp_id),
        outcome=outcome,
        status=0,
        details={"connection_id": str(step.connection_id), "commit": step.commit, **details},
    )


def _failure(error: PlatformError) -> ApplicationError:
    """Make an activity's error: what is away is waited for."""
    problems = error.detail if isinstance(error.detail, str) else str(error)
    return ApplicationError(problems, type=error.code, non_retryable=not isinstance(error, Unavailable))
