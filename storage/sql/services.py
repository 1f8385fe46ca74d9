"""Deployments with the places of their replicas, all at once: what the bridge calls services."""

import builtins
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import select

from mcp_platform.contracts.deployments import DeploymentState, Driver, ReplicaState
from storage.sql.engine import SessionT
from storage.sql.repository import Repository
from storage.sql.tables import DeploymentRow, McpTagRow, ReplicaOverrideRow, ReplicaRow


@dataclass(frozen=True)
class ReplicaPlace:
    """A place of a deployment, and the replica that stands there."""

    ordinal: int
    replica_id: UUID
    revision: int
    state: ReplicaState
    url: str
    reason: str | None
    weight: float
    offline: bool

    @property
    def healthy(self) -> bool:
        """Whether it takes calls."""
        return self.state is ReplicaState.HEALTHY and not self.offline


@dataclass(frozen=True)
class ServiceRecord:
    """A deployment that is not stopped."""

    deployment_id: UUID
    mcp_id: UUID
    slug: str
    version: str
    driver: Driver
    status: DeploymentState
    wished: int
    """How many replicas it is to have."""
    config_key: str
    tags: list[str] = field(default_factory=list)
    """Of the MCP, in alphabetical order."""
    places: list[ReplicaPlace] = field(default_factory=list)
    """By ordinal."""

    @property
    def healthy(self) -> int:
        """How many of the places take calls."""
        return sum(place.healthy for place in self.places)


class ServiceRepository(Repository[SessionT]):
    """Services, in three queries however many there are."""

    async def list(self, slug: str | None = None) -> builtins.list[ServiceRecord]:
        """List the deployments that are not stopped, by slug; of one slug alone, if it is named."""
        query = (
            select(DeploymentRow)
            .where(DeploymentRow.active_slug.is_not(None), DeploymentRow.status != DeploymentState.STOPPING)
            .order_by(DeploymentRow.active_slug)
        )
        if slug is not None:
            query = query.where(DeploymentRow.active_slug == slug)
        found = list(await self._session.scalars(query))
        places = await self._places([row.id for row in found])
        tags = await self._tags({row.mcp_id for row in found})
        return [
            ServiceRecord(
                deployment_id=row.id,
                mcp_id=row.mcp_id,
                slug=row.slug,
                version=row.version,
                driver=row.driver,
                status=row.status,
                wished=1 if row.driver is Driver.REMOTE else int(row.config.get("replicas", 0)),
                config_key=row.config_key,
                tags=tags[row.mcp_id],
                places=places[row.id],
            )
            for row in found
        ]

    async def _tags(self, mcp_ids: Iterable[UUID]) -> defaultdict[UUID, builtins.list[str]]:
        query = select(McpTagRow.mcp_id, McpTagRow.tag).where(McpTagRow.mcp_id.in_(mcp_ids))
        tags: defaultdict[UUID, builtins.list[str]] = defaultdict(list)
        for mcp_id, tag in await self._session.execute(query.order_by(McpTagRow.tag)):
            tags[mcp_id].append(tag)
        return tags

    async def _places(self, deployment_ids: Iterable[UUID]) -> defaultdict[UUID, builtins.list[ReplicaPlace]]:
        of_place = (ReplicaOverrideRow.deployment_id == ReplicaRow.deployment_id) & (
            ReplicaOverrideRow.ordinal == ReplicaRow.ordinal
        )
        query = (
            select(ReplicaRow, ReplicaOverrideRow)
            .outerjoin(ReplicaOverrideRow, of_place)
            .where(ReplicaRow.deployment_id.in_(deployment_ids), ReplicaRow.state != ReplicaState.STOPPED)
            .order_by(ReplicaRow.deployment_id, ReplicaRow.ordinal, ReplicaRow.revision)
        )
        # Of several in one place, as in a roll-out, the one that takes calls is meant, or else the newest.
        chosen: dict[tuple[UUID, int], ReplicaPlace] = {}
        for row, override in await self._session.execute(query):
            place = ReplicaPlace(
                ordinal=row.ordinal,
                replica_id=row.id,
                revision=row.revision,
                state=row.state,
                url=row.url or "",
                reason=row.reason,
                weight=override.weight if override is not None else 1.0,
                offline=override is not None and override.offline,
            )
            known = chosen.get((row.deployment_id, row.ordinal))
            if known is None or not known.healthy or place.healthy:
                chosen[row.deployment_id, row.ordinal] = place
        places: defaultdict[UUID, builtins.list[ReplicaPlace]] = defaultdict(list)
        for (deployment_id, _), place in chosen.items():
            places[deployment_id].append(place)
        return places
