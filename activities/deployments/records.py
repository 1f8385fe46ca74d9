"""Writing down what becomes of deployments and their revisions, and telling whoever wants to know."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError

from mcp_platform.contracts.audit import AuditEvent, AuditOutcome
from mcp_platform.contracts.deployments import (
    Deployment,
    DeploymentReport,
    DeploymentState,
    Revision,
    RevisionContent,
    RevisionOutcome,
)
from mcp_platform.contracts.events import Event, EventType
from mcp_platform.names import Channel

if TYPE_CHECKING:
    from storage.sql.audit import AuditLog
    from storage.stores import Stores

logger = structlog.get_logger(__name__)

_TROUBLE = frozenset({DeploymentState.UNHEALTHY, DeploymentState.FAILED, DeploymentState.ROLLED_BACK})


class DeploymentActivities:
    """Records of deployments."""

    def __init__(self, stores: Stores, audit: AuditLog) -> None:
        self._stores = stores
        self._audit = audit

    @activity.defn(name="deployments.record")
    async def record(self, report: DeploymentReport) -> bool:
        """Write down what is true of the deployment, and tell the gateways and the listeners.

        False if the deployment is not wanted any more: it was stopped before its workflow began.
        """
        async with self._stores.write() as rows:
            found = await rows.deployments.report(report)
        if found is None:
            return False
        deployment, before = found
        await self.announce(deployment, report)
        if deployment.status is not before:
            await self._audit.append([_transition(deployment, before)])
        logger.info("deployment_status", slug=deployment.slug, status=report.status, reason=report.reason)
        return deployment.status is not DeploymentState.STOPPED

    @activity.defn(name="deployments.begin_revision")
    async def begin_revision(self, revision: Revision) -> None:
        """Record a revision whose replicas are to take over."""
        async with self._stores.write() as rows:
            await rows.revisions.add(revision.deployment_id, revision.number, revision)
            recorded = await rows.revisions.get(revision.deployment_id, revision.number)
        wanted = RevisionContent.model_validate(revision.model_dump())
        if recorded is None or RevisionContent.model_validate(recorded.model_dump()) != wanted:
            # A workflow that was restored from an older state counts from an older number.
            raise ApplicationError(
                f"revision {revision.number} exists already; ask again for the next one",
                type="NumberTaken",
                non_retryable=True,
            )

    @activity.defn(name="deployments.settle_revision")
    async def settle_revision(self, outcome: RevisionOutcome) -> None:
        """Record what became of a revision; one that took over is the deployment's present one."""
        async with self._stores.write() as rows:
            slug = await rows.deployments.adopt(outcome)
        if slug:
            await self._stores.publish(Channel.ROUTES, {"slug": slug})

    async def announce(self, deployment: Deployment, report: DeploymentReport) -> None:
        """Tell the gateways and the listeners of a report that was recorded."""
        await self._stores.publish(Channel.ROUTES, {"slug": deployment.slug})
        data = report.model_dump(mode="json", exclude={"slug", "health", "autoscaling", "fixed"})
        if report.status is DeploymentState.STOPPED:
            data["stopped_at"] = deployment.stopped_at and deployment.stopped_at.isoformat()
        event = Event(
            type=EventType.DEPLOYMENT_STATUS,
            owner_id=deployment.owner_id,
            data={**data, "tool_id": str(deployment.mcp_id), "tool_name": deployment.tool_name},
        )
        await self._stores.publish(Channel.EVENTS, event)


def _transition(deployment: Deployment, before: DeploymentState) -> AuditEvent:
    """Describe a change of status, for the audit log; its actor is the platform."""
    trouble = deployment.status in _TROUBLE
    return AuditEvent(
        at=datetime.now(UTC),
        actor_name="platform",
        action="deployments.status",
        resource_type="deployment",
        resource_id=str(deployment.id),
        outcome=AuditOutcome.FAILED if trouble else AuditOutcome.SUCCESS,
        status=0,
        details={
            "slug": deployment.slug,
            "from": before.value,
            "to": deployment.status.value,
            "revision": deployment.revision,
            "reason": deployment.reason,
        },
    )
