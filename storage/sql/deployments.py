"""Deployments, their replicas, and the routes that follow from them."""

import builtins
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final
from uuid import UUID

from sqlalchemy import bindparam, delete, func, insert, select, update

from mcp_platform.contracts.deployments import (
    CallFigures,
    Deployment,
    DeploymentReport,
    DeploymentState,
    Driver,
    Replica,
    ReplicaState,
    RevisionContent,
    RevisionOutcome,
    RevisionState,
    Route,
    UpstreamAddress,
)
from mcp_platform.errors import Conflict, NotFound
from storage.sql.engine import SessionT, WriteSession
from storage.sql.mcps import McpRepository
from storage.sql.repository import Repository, changed_rows, inserted
from storage.sql.revisions import RevisionRepository
from storage.sql.tables import DeploymentRow, McpRow, ReplicaOverrideRow, ReplicaRow, RevisionRow

_ACTIVE: Final = DeploymentRow.active_slug.is_not(None)


class DeploymentRepository(Repository[SessionT]):
    """Deployments. Whoever changes one, or one of its replicas, locks the deployment first."""

    async def add(
        self: "DeploymentRepository[WriteSession]", deployment: Deployment, content: RevisionContent
    ) -> None:
        """Record a deployment and its first revision; the same one again is success.

        Raises:
            Conflict: The slug has a deployment that is not stopped; `deployment_id` names it. Or the MCP
                is being deleted; `task_id` says by what.
            NotFound: The MCP is gone.
        """
        mcp = select(McpRow.id).where(McpRow.id == deployment.mcp_id).with_for_update(read=True)
        if await self._session.scalar(mcp) is None:
            raise NotFound("mcp_tool", deployment.mcp_id)
        if task_id := await McpRepository(self._session).being_deleted(deployment.mcp_id):
            raise Conflict("The MCP is being deleted", resource_type="mcp_tool", task_id=task_id)
        active = deployment.status is not DeploymentState.STOPPED
        values = deployment.model_dump(mode="python") | {"active_slug": deployment.slug if active else None}
        values["config"] = deployment.config.model_dump(mode="json")
        if await inserted(self._session, insert(DeploymentRow).values(values)):
            await RevisionRepository(self._session).add(deployment.id, deployment.revision, content)
            return
        if await self.get(deployment.id) is not None:
            return
        existing = select(DeploymentRow.id).where(DeploymentRow.active_slug == deployment.slug)
        raise Conflict(
            f"{deployment.slug!r} is deployed already",
            resource_type="deployment",
            deployment_id=str(await self._session.scalar(existing)),
        )

    async def get(self, deployment_id: UUID) -> Deployment | None:
        """Find the deployment with this id."""
        row = await self._session.scalar(select(DeploymentRow).where(DeploymentRow.id == deployment_id))
        return _deployment(row) if row else None

    async def active_of(self, slug: str) -> Deployment | None:
        """Find the deployment of a slug that is not stopped."""
        row = await self._session.scalar(select(DeploymentRow).where(DeploymentRow.active_slug == slug))
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
    ) -> tuple[Deployment, DeploymentState] | None:
        """Record what was found to be true; the deployment, and its status before.

        A stopped one stays as it is. None if there is no such deployment.
        """
        row = await self._locked(report.deployment_id)
        if row is None:
            return None
        before = row.status
        if before is DeploymentState.STOPPED:
            return _deployment(row), before
        row.status = report.status
        row.health_status = report.health_status
        row.reason = report.reason
        row.config = row.config | _changes_of(report)
        row.rollout = report.rollout.model_dump(mode="json") if report.rollout else None
        row.reported_at = datetime.now(UTC)
        if report.status is DeploymentState.STOPPED:
            row.stopped_at = datetime.now(UTC)
            row.active_slug = None
            await self._session.execute(
                update(ReplicaRow)
                .where(ReplicaRow.deployment_id == row.id)
                .values(state=ReplicaState.STOPPED)
            )
            await RevisionRepository(self._session).end(row.id)
        await self._session.flush()
        return _deployment(row), before

    async def adopt(self: "DeploymentRepository[WriteSession]", outcome: RevisionOutcome) -> str | None:
        """Record what became of a revision, and, where its replicas took over, that it is the present one.

        Returns:
            The deployment's slug; None if there is no such deployment, or it is stopped.
        """
        row = await self._locked(outcome.deployment_id)
        if row is None or row.status is DeploymentState.STOPPED:
            return None
        revisions = RevisionRepository(self._session)
        await revisions.settle(outcome)
        revision = await revisions.get(row.id, outcome.number)
        if revision is not None and revision.state is RevisionState.ACTIVE:
            row.revision, row.version = revision.number, revision.version
            row.config_key, row.driver = revision.config_key, revision.driver
            row.config = revision.config.model_dump(mode="json") | {"replicas": row.config["replicas"]}
        # What stood in the places of earlier revisions is of no interest any more.
        gone = delete(ReplicaRow).where(
            ReplicaRow.deployment_id == row.id,
            ReplicaRow.state == ReplicaState.STOPPED,
            ReplicaRow.revision != row.revision,
        )
        await self._session.execute(gone)
        await self._session.flush()
        return row.slug

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

    async def drain_replica(self: "DeploymentRepository[WriteSession]", replica_id: UUID) -> str | None:
        """Record that a replica is called no more; the slug whose routes change, None if it is stopped."""
        return await self._change_replica(replica_id, state=ReplicaState.DRAINING)

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
        """Derive where calls go: every deployment that is not stopping, with its healthy replicas.

        Those that an operator took out of rotation are left out.
        """
        reachable = (
            (ReplicaRow.deployment_id == DeploymentRow.id)
            & (ReplicaRow.state == ReplicaState.HEALTHY)
            & ReplicaRow.url.is_not(None)
        )
        of_replica = (RevisionRow.deployment_id == ReplicaRow.deployment_id) & (
            RevisionRow.number == ReplicaRow.revision
        )
        of_place = (ReplicaOverrideRow.deployment_id == ReplicaRow.deployment_id) & (
            ReplicaOverrideRow.ordinal == ReplicaRow.ordinal
        )
        query = (
            select(DeploymentRow, ReplicaRow, RevisionRow, ReplicaOverrideRow)
            .outerjoin(ReplicaRow, reachable)
            .outerjoin(RevisionRow, of_replica)
            .outerjoin(ReplicaOverrideRow, of_place)
            .where(_ACTIVE, DeploymentRow.status != DeploymentState.STOPPING)
            .order_by(DeploymentRow.active_slug, ReplicaRow.ordinal, ReplicaRow.started_at, ReplicaRow.id)
        )
        if slug is not None:
            query = query.where(DeploymentRow.active_slug == slug)
        found = await self._session.execute(query)
        return [
            _route(deployment, [each[1:] for each in group if each[1]])
            for deployment, group in groupby(found, key=lambda each: each[0])
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


def _changes_of(report: DeploymentReport) -> dict[str, Any]:
    """Give what the workflow changed of the wish."""
    changes: dict[str, Any] = {"replicas": report.replicas}
    if report.health is not None:
        changes["health"] = report.health.model_dump(mode="json")
    if report.autoscaling is not None or report.fixed:
        changes["autoscaling"] = report.autoscaling and report.autoscaling.model_dump(mode="json")
    return changes


def _deployment(row: DeploymentRow) -> Deployment:
    return Deployment.model_validate(row, from_attributes=True)


def _replica(row: ReplicaRow) -> Replica:
    return Replica.model_validate(row, from_attributes=True)


def _route(
    deployment: DeploymentRow,
    healthy: list[tuple[ReplicaRow, RevisionRow, ReplicaOverrideRow | None]],
) -> Route:
    replicas = [each for each in healthy if each[2] is None or not each[2].offline]
    wakes = bool((deployment.config.get("autoscaling") or {}).get("idle_after"))
    starting = deployment.status is DeploymentState.STARTING and not replicas
    return Route(
        slug=deployment.slug,
        mcp_id=deployment.mcp_id,
        deployment_id=deployment.id,
        version=deployment.version,
        offline=len(healthy) - len(replicas),
        asleep=deployment.status is DeploymentState.IDLE or (wakes and starting),
        upstreams=[_upstream(replica, revision) for replica, revision, _ in replicas],
        weights={replica.id: override.weight for replica, _, override in replicas if override},
        wished=1 if deployment.driver is Driver.REMOTE else int(deployment.config.get("replicas", 0)),
    )


def _upstream(replica: ReplicaRow, revision: RevisionRow) -> UpstreamAddress:
    remote = revision.driver is Driver.REMOTE
    return UpstreamAddress(
        replica_id=replica.id,
        url=replica.url or "",
        driver=revision.driver,
        server=revision.config.get("server") if remote else None,
        config_key=revision.config_key if remote else None,
    )
