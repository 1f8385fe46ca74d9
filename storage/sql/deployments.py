"""Deployments, their replicas, and the routes that follow from them."""

import builtins
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final
from uuid import UUID

from sqlalchemy import bindparam, func, insert, select, update

from mcp_platform.contracts.deployments import (
    CallFigures,
    Deployment,
    DeploymentReport,
    DeploymentState,
    Driver,
    Replica,
    ReplicaState,
    Route,
    UpstreamAddress,
)
from mcp_platform.errors import Conflict, NotFound
from storage.sql.engine import SessionT, WriteSession
from storage.sql.mcps import DELETION_IS_OPEN
from storage.sql.repository import Repository, changed_rows, inserted
from storage.sql.tables import DeploymentRow, McpRow, ReplicaRow

_ACTIVE: Final = DeploymentRow.active_slug.is_not(None)


class DeploymentRepository(Repository[SessionT]):
    """Deployments. Whoever changes one, or one of its replicas, locks the deployment first."""

    async def add(self: "DeploymentRepository[WriteSession]", deployment: Deployment) -> None:
        """Record a deployment; the same one again is success.

        Raises:
            Conflict: The slug has a deployment that is not stopped; `deployment_id` names it. Or the MCP
                is being deleted; `task_id` says by what.
            NotFound: The MCP is gone.
        """
        mcp = select(McpRow.id).where(McpRow.id == deployment.mcp_id).with_for_update(read=True)
        if await self._session.scalar(mcp) is None:
            raise NotFound("mcp_tool", deployment.mcp_id)
        deletion = select(McpRow.deletion_task_id).where(McpRow.id == deployment.mcp_id, DELETION_IS_OPEN)
        if task_id := await self._session.scalar(deletion):
            raise Conflict("The MCP is being deleted", resource_type="mcp_tool", task_id=task_id)
        active = deployment.status is not DeploymentState.STOPPED
        values = deployment.model_dump(mode="python") | {"active_slug": deployment.slug if active else None}
        if await inserted(self._session, insert(DeploymentRow).values(values)):
            return
        if await self.get(deployment.id) is not None:
            return
        existing = select(DeploymentRow.id).where(DeploymentRow.active_slug == deployment.slug)
        raise Conflict(
            f"{deployment.slug!r} is deployed already; stop that deployment first",
            resource_type="deployment",
            deployment_id=str(await self._session.scalar(existing)),
        )

    async def get(self, deployment_id: UUID) -> Deployment | None:
        """Find the deployment with this id."""
        row = await self._session.scalar(select(DeploymentRow).where(DeploymentRow.id == deployment_id))
        return _deployment(row) if row else None

    async def list(
        self, *, status: DeploymentState | None = None, mcp_id: UUID | None = None
    ) -> builtins.list[Deployment]:
        """List deployments, newest first."""
        query = select(DeploymentRow).order_by(DeploymentRow.deployed_at.desc(), DeploymentRow.id.desc())
        if status is not None:
            query = query.where(DeploymentRow.status == status)
        if mcp_id is not None:
            query = query.where(DeploymentRow.mcp_id == mcp_id)
        return [_deployment(row) for row in await self._session.scalars(query)]

    async def active(self) -> builtins.list[Deployment]:
        """List deployments that are not stopped, oldest first."""
        query = select(DeploymentRow).where(_ACTIVE).order_by(DeploymentRow.deployed_at, DeploymentRow.id)
        return [_deployment(row) for row in await self._session.scalars(query)]

    async def changed_since(self, moment: datetime) -> builtins.list[tuple[Deployment, int]]:
        """List deployments whose status was written since, and how many of their replicas are healthy."""
        healthy = (
            select(func.count())
            .select_from(ReplicaRow)
            .where(ReplicaRow.deployment_id == DeploymentRow.id, ReplicaRow.state == ReplicaState.HEALTHY)
            .scalar_subquery()
        )
        query = select(DeploymentRow, healthy).where(DeploymentRow.reported_at >= moment)
        found = await self._session.execute(query.order_by(DeploymentRow.reported_at))
        return [(_deployment(row), count) for row, count in found]

    async def report(
        self: "DeploymentRepository[WriteSession]", report: DeploymentReport
    ) -> Deployment | None:
        """Record what was found to be true, and return the deployment; a stopped one stays as it is."""
        row = await self._locked(report.deployment_id)
        if row is None or row.status is DeploymentState.STOPPED:
            return _deployment(row) if row else None
        row.status = report.status
        row.health_status = report.health_status
        row.reason = report.reason
        row.config = row.config | {"replicas": report.replicas}
        row.reported_at = datetime.now(UTC)
        if report.status is DeploymentState.STOPPED:
            row.stopped_at = datetime.now(UTC)
            row.active_slug = None
            await self._session.execute(
                update(ReplicaRow)
                .where(ReplicaRow.deployment_id == row.id)
                .values(state=ReplicaState.STOPPED)
            )
        await self._session.flush()
        return _deployment(row)

    async def put_replica(self: "DeploymentRepository[WriteSession]", replica: Replica) -> None:
        """Record a replica as it is now; of a stopped deployment no replica is ever anything but stopped.

        Raises:
            NotFound: There is no such deployment.
        """
        deployment = await self._locked(replica.deployment_id)
        if deployment is None:
            raise NotFound("deployment", replica.deployment_id)
        values = replica.model_dump()
        if deployment.status is DeploymentState.STOPPED:
            values["state"] = ReplicaState.STOPPED
        known = await self._session.scalar(select(ReplicaRow.id).where(ReplicaRow.id == replica.id))
        if known is None:
            await self._session.execute(insert(ReplicaRow).values(values))
        else:
            await self._session.execute(update(ReplicaRow).where(ReplicaRow.id == replica.id).values(values))

    async def lose_replica(
        self: "DeploymentRepository[WriteSession]",
        replica_id: UUID,
        reason: str,
        stderr_tail: builtins.list[str],
    ) -> str | None:
        """Record why a replica is not healthy; the slug whose routes change, None if it is stopped."""
        return await self._change_replica(
            replica_id, state=ReplicaState.UNHEALTHY, reason=reason, stderr_tail=stderr_tail
        )

    async def note_replica(self: "DeploymentRepository[WriteSession]", replica_id: UUID, reason: str) -> None:
        """Record why a replica that is starting does not answer yet."""
        await self._change_replica(replica_id, reason=reason)

    async def stop_replica(self: "DeploymentRepository[WriteSession]", replica_id: UUID) -> str | None:
        """Record that a replica is not wanted any more; the slug whose routes change, None if it was so."""
        return await self._change_replica(replica_id, state=ReplicaState.STOPPED)

    async def get_replica(self, replica_id: UUID) -> Replica | None:
        """Find the replica with this id."""
        row = await self._session.scalar(select(ReplicaRow).where(ReplicaRow.id == replica_id))
        return _replica(row) if row else None

    async def replicas(self, deployment_id: UUID, include_stopped: bool = False) -> builtins.list[Replica]:
        """List a deployment's replicas by place, and in one place by age."""
        query = (
            select(ReplicaRow)
            .where(ReplicaRow.deployment_id == deployment_id)
            .order_by(ReplicaRow.ordinal, ReplicaRow.started_at, ReplicaRow.id)
        )
        if not include_stopped:
            query = query.where(ReplicaRow.state != ReplicaState.STOPPED)
        return [_replica(row) for row in await self._session.scalars(query)]

    async def live_replica_ids(self) -> set[UUID]:
        """Collect every replica that some deployment still wants."""
        query = (
            select(ReplicaRow.id)
            .join(DeploymentRow, DeploymentRow.id == ReplicaRow.deployment_id)
            .where(_ACTIVE, ReplicaRow.state != ReplicaState.STOPPED)
        )
        return set(await self._session.scalars(query))

    async def routes(self, slug: str | None = None) -> builtins.list[Route]:
        """Derive where calls go: every deployment that is not stopping, with its healthy replicas."""
        reachable = (
            (ReplicaRow.deployment_id == DeploymentRow.id)
            & (ReplicaRow.state == ReplicaState.HEALTHY)
            & ReplicaRow.url.is_not(None)
        )
        query = (
            select(DeploymentRow, ReplicaRow)
            .outerjoin(ReplicaRow, reachable)
            .where(_ACTIVE, DeploymentRow.status != DeploymentState.STOPPING)
            .order_by(DeploymentRow.active_slug, ReplicaRow.ordinal, ReplicaRow.started_at, ReplicaRow.id)
        )
        if slug is not None:
            query = query.where(DeploymentRow.active_slug == slug)
        pairs = await self._session.execute(query)
        return [
            _route(deployment, [replica for _, replica in group if replica is not None])
            for deployment, group in groupby(pairs, key=lambda pair: pair[0])
        ]

    async def add_calls(self: "DeploymentRepository[WriteSession]", figures: Iterable[CallFigures]) -> None:
        """Add to the totals, within the database, so that nobody's figures overwrite another's."""
        rows: list[dict[str, Any]] = [
            {
                "deployment": each.deployment_id,
                "requests": each.requests,
                "errors": each.errors,
                "latency": each.latency_ms,
            }
            # Everybody locks in the same order, and so nobody waits in a circle.
            for each in sorted(figures, key=lambda each: each.deployment_id.hex)
        ]
        if not rows:
            return
        totals = DeploymentRow.__table__.c
        connection = await self._session.connection()
        await connection.execute(
            update(DeploymentRow.__table__)  # type: ignore[arg-type]
            .where(totals.id == bindparam("deployment"))
            .values(
                requests_total=totals.requests_total + bindparam("requests"),
                errors_total=totals.errors_total + bindparam("errors"),
                latency_ms_total=totals.latency_ms_total + bindparam("latency"),
            ),
            rows,
        )

    async def _change_replica(
        self: "DeploymentRepository[WriteSession]", replica_id: UUID, **values: object
    ) -> str | None:
        replica = await self.get_replica(replica_id)
        deployment = await self._locked(replica.deployment_id) if replica else None
        if deployment is None:
            return None
        not_stopped = update(ReplicaRow).where(
            ReplicaRow.id == replica_id, ReplicaRow.state != ReplicaState.STOPPED
        )
        changed = await changed_rows(self._session, not_stopped.values(**values))
        return deployment.slug if changed else None

    async def _locked(
        self: "DeploymentRepository[WriteSession]", deployment_id: UUID
    ) -> DeploymentRow | None:
        query = select(DeploymentRow).where(DeploymentRow.id == deployment_id)
        refreshed = query.with_for_update().execution_options(populate_existing=True)
        return await self._session.scalar(refreshed)


def _deployment(row: DeploymentRow) -> Deployment:
    return Deployment.model_validate(row, from_attributes=True)


def _replica(row: ReplicaRow) -> Replica:
    return Replica.model_validate(row, from_attributes=True)


def _route(deployment: DeploymentRow, replicas: list[ReplicaRow]) -> Route:
    server = deployment.config.get("server") if deployment.driver is Driver.REMOTE else None
    return Route(
        slug=deployment.slug,
        mcp_id=deployment.mcp_id,
        deployment_id=deployment.id,
        config_key=deployment.config_key,
        upstreams=[
            UpstreamAddress(replica_id=replica.id, url=replica.url, driver=deployment.driver, server=server)
            for replica in replicas
            if replica.url is not None
        ],
    )
