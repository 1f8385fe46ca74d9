"""What deliveries of GitHub's webhooks bring about; each step may be repeated."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from temporalio import activity

from activities.github_sync.drift import TellDrift
from activities.github_sync.starting import begin_sync
from mcp_platform.contracts.github import Connection, ConnectionState, SyncCause
from mcp_platform.contracts.syncing import InstallationHeard, PushHeard, SyncRequest

if TYPE_CHECKING:
    from uuid import UUID

    from temporalio.client import Client

    from storage.stores import Stores


class DeliveryActivities:
    """Do what a delivery asks for.

    Args:
        stores: Where connections are.
        temporal: Starts syncs.
        tell_drift: Tells listeners how repository and platform stand to each other now.
    """

    def __init__(self, stores: Stores, temporal: Client, tell_drift: TellDrift) -> None:
        self._stores = stores
        self._temporal = temporal
        self._tell_drift = tell_drift

    @property
    def steps(self) -> list[Callable[..., Any]]:
        """All of them."""
        return [self.hear_push, self.hear_installation]

    @activity.defn(name="github.hear_push")
    async def hear_push(self, heard: PushHeard) -> str:
        """Begin a sync, or note that the branch is gone; tell what was done."""
        connection = await self._find(heard.connection_id)
        if connection is None or connection.state is ConnectionState.DISCONNECTING:
            return "the repository is not connected any more"
        if heard.gone:
            reason = f"its branch {connection.branch!r} was deleted at GitHub; the MCPs stay as they are"
            await self._note(connection.id, head_commit=None, reason=reason)
            return reason
        if heard.commit is not None:
            await self._note(connection.id, head_commit=heard.commit)
        await self._tell_drift(self._stores, connection.id)
        request = SyncRequest(cause=SyncCause.PUSH, deploy=connection.deploy)
        task_id = await begin_sync(self._stores, self._temporal, connection, request)
        return f"a sync was begun: {task_id}"

    @activity.defn(name="github.hear_installation")
    async def hear_installation(self, heard: InstallationHeard) -> str:
        """Note that the platform's App may not see repositories any more, or may again."""
        state = ConnectionState.CONNECTED if heard.refused is None else ConnectionState.REFUSED
        for connection_id in heard.connection_ids:
            connection = await self._find(connection_id)
            if connection is not None and connection.state is not ConnectionState.DISCONNECTING:
                await self._note(connection_id, state=state, reason=heard.refused)
        return heard.refused or "the App may see the repository again"

    async def _find(self, connection_id: UUID) -> Connection | None:
        async with self._stores.read() as rows:
            return await rows.connections.get(connection_id)

    async def _note(self, connection_id: UUID, **values: object) -> None:
        async with self._stores.write() as rows:
            await rows.connections.update(connection_id, datetime.now(UTC), **values)
