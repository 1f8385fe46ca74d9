"""What operators wish of replicas: their weights, and which are called no more."""

import builtins
from uuid import UUID

from sqlalchemy import insert, select, update

from mcp_platform.contracts.balancing import ReplicaOverride
from mcp_platform.errors import NotFound
from storage.sql.engine import SessionT, WriteSession
from storage.sql.repository import Repository, changed_rows
from storage.sql.tables import DeploymentRow, ReplicaOverrideRow, ReplicaRow


class ReplicaOverrideRepository(Repository[SessionT]):
    """Wishes by deployment and place.

    So they hold for whatever replica stands there, through restarts, healing and roll-outs, and end with
    the deployment. Whoever changes one tells the gateways: `Channel.ROUTES`, with the slug.
    """

    async def list(self, deployment_id: UUID) -> builtins.list[ReplicaOverride]:
        """List what is wished of a deployment's replicas, by place."""
        query = select(ReplicaOverrideRow).where(ReplicaOverrideRow.deployment_id == deployment_id)
        rows = await self._session.scalars(query.order_by(ReplicaOverrideRow.ordinal))
        return [ReplicaOverride.model_validate(row, from_attributes=True) for row in rows]

    async def set_weight(
        self: "ReplicaOverrideRepository[WriteSession]", replica_id: UUID, weight: float
    ) -> str:
        """Record how much of the calls a replica's place gets; the slug whose routes change.

        Raises:
            NotFound: There is no such replica.
        """
        return await self._put(replica_id, weight=weight)

    async def set_offline(
        self: "ReplicaOverrideRepository[WriteSession]", replica_id: UUID, offline: bool
    ) -> str:
        """Record whether calls go to a replica's place; the slug whose routes change.

        Raises:
            NotFound: There is no such replica.
        """
        return await self._put(replica_id, offline=offline)

    async def _put(
        self: "ReplicaOverrideRepository[WriteSession]", replica_id: UUID, **change: object
    ) -> str:
        place = select(ReplicaRow.deployment_id, ReplicaRow.ordinal).where(ReplicaRow.id == replica_id)
        found = (await self._session.execute(place)).first()
        if found is None:
            raise NotFound("replica", replica_id)
        deployment_id, ordinal = found
        # Whoever changes anything of a deployment locks it first, so two who put a row here do not collide.
        locked = select(DeploymentRow.slug).where(DeploymentRow.id == deployment_id).with_for_update()
        slug = await self._session.scalar(locked)
        if slug is None:
            raise NotFound("replica", replica_id)
        override = ReplicaOverride.model_validate(
            {"deployment_id": deployment_id, "ordinal": ordinal} | change
        )
        mine = (ReplicaOverrideRow.deployment_id == deployment_id) & (ReplicaOverrideRow.ordinal == ordinal)
        if not await changed_rows(self._session, update(ReplicaOverrideRow).where(mine).values(change)):
            await self._session.execute(insert(ReplicaOverrideRow).values(override.model_dump()))
        return slug
