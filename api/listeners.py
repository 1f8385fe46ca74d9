"""Who listens to `/events`, and what each of them may hear.

A listener that comes back names the moment up to which it was told everything. What it missed is read
from the stores, so it does not matter which process told it before, or whether that still runs: the
newest state of the tasks that are open or ended since, and of the deployments whose status was written
since. Some of it may be told twice, and nothing is left out.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import structlog

from api.outbox import Outbox
from api.status_hub import StatusHub, render_update
from api.task_reader import TaskReader
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.deployments import Deployment
from mcp_platform.contracts.events import Event, EventType
from mcp_platform.contracts.tasks import TaskRecord
from mcp_platform.errors import Unavailable
from mcp_platform.names import Channel
from storage.cache import listen
from storage.stores import Stores

logger = structlog.get_logger(__name__)

_OVERLAP: Final = 60.0
"""Seconds: more than lies between a change's own moment and its being told, and between clocks."""
_LONGEST_ABSENCE: Final = 7 * 86_400.0
"""Seconds: who comes back later is told what is open, and what has changed within this time."""
_AT_ONCE: Final = 100
_FULL_WAIT: Final = 0.05
_RETRY_AFTER: Final = 1.0


@dataclass(eq=False)
class Listener:
    """One event stream."""

    principal: Principal
    outbox: Outbox
    missed_since: float | None
    """The moment after which something may not have been told yet."""
    teller: asyncio.Task[None] | None = None
    tellers: set[asyncio.Task[None]] = field(default_factory=set)
    """The teller, with those before it that were told to end and have not ended yet."""

    @property
    def owner(self) -> UUID | None:
        """Whose tasks it hears; None: everybody's."""
        return None if Permission.TASKS_ALL in self.principal.permissions else self.principal.user_id

    def hears_deployment(self, tool_id: UUID) -> bool:
        """Tell whether it hears what becomes of this MCP's deployments."""
        allowed = Permission.DEPLOYMENTS_READ in self.principal.permissions
        return allowed and self.principal.may_use(tool_id)

    def hears_authorization(self, event: Event) -> bool:
        """Tell whether it hears what becomes of an authorization at a remote server: of its own alone."""
        return self.principal.user_id == event.owner_id and self.principal.may_use(
            UUID(event.data["tool_id"])
        )

    def hears_connection(self, event: Event) -> bool:
        """Tell whether it hears how a connected repository stands: one's own, or everybody's who may."""
        allowed = self.principal.permissions
        own = self.principal.user_id == event.owner_id and Permission.GITHUB_READ in allowed
        return self.principal.mcp_ids is None and (own or Permission.GITHUB_ALL in allowed)


class Listeners:
    """The event streams of one process, fed by the other processes' messages and by the hub."""

    def __init__(self, stores: Stores, reader: TaskReader, hub: StatusHub) -> None:
        self._stores = stores
        self._reader = reader
        self._hub = hub
        self._listeners: set[Listener] = set()
        self._deaf_since: float | None = time.time()
        """Since when other processes' messages cannot be heard."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Hear the other processes while the body runs."""
        ear = asyncio.create_task(self._hear())
        try:
            yield
        finally:
            ear.cancel()
            await asyncio.gather(ear, return_exceptions=True)

    @asynccontextmanager
    async def listening(
        self, principal: Principal, outbox: Outbox, since: float | None
    ) -> AsyncIterator[Listener]:
        """Tell this caller what they may hear while the body runs: what they missed, and open tasks first.

        Args:
            principal: Who it is.
            outbox: Where to put it.
            since: Up to when they were told everything, if they were.
        """
        listener = Listener(principal, outbox, time.time())
        self._listeners.add(listener)
        self._tell_missed(listener, since)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            self._hub.leave(outbox)
            if listener.teller is not None:
                listener.teller.cancel()
            await asyncio.gather(*listener.tellers, return_exceptions=True)

    def told_until(self, listener: Listener) -> float:
        """Give the moment up to which this listener was told everything, if it received all until now."""
        moments = (
            listener.missed_since,
            listener.outbox.unsent_since,
            self._hub.behind_since,
            self._deaf_since,
        )
        return min((moment for moment in moments if moment is not None), default=time.time())

    def _tell_missed(self, listener: Listener, since: float | None) -> None:
        """Begin to tell what happened since, and what is open; without a moment only that."""
        if since is not None:
            listener.missed_since = min(since, listener.missed_since or since)
        if listener.teller is not None:
            listener.teller.cancel()
        listener.teller = asyncio.create_task(self._catch_up(listener, since))
        listener.tellers.add(listener.teller)
        listener.teller.add_done_callback(listener.tellers.discard)

    async def _catch_up(self, listener: Listener, since: float | None) -> None:
        while True:
            try:
                # What is open first: what ends from now on is told by the hub.
                await self._follow_open_tasks(listener)
                if since is not None:
                    begin = max(since - _OVERLAP, time.time() - _LONGEST_ABSENCE)
                    await self._tell_changed(listener, datetime.fromtimestamp(begin, UTC))
            except Unavailable as error:
                logger.warning("listener_not_caught_up", error=str(error))
            except Exception:
                # The stream would stay silent about it for ever.
                logger.exception("listener_not_caught_up")
            else:
                listener.missed_since = None
                return
            await asyncio.sleep(_RETRY_AFTER)

    async def _follow_open_tasks(self, listener: Listener) -> None:
        async with self._stores.read() as rows:
            open_tasks = await rows.tasks.open_tasks(listener.owner)
        for task in open_tasks:
            await _has_room(listener)
            self._follow(listener, task.task_id)

    def _follow(self, listener: Listener, task_id: str) -> None:
        # One that left while the rows were read must not be followed for: nobody would end that.
        if listener in self._listeners and task_id not in listener.outbox.watched:
            self._hub.subscribe(task_id, listener.outbox)

    async def _tell_changed(self, listener: Listener, moment: datetime) -> None:
        async with self._stores.read() as rows:
            deployments = await rows.deployments.changed_since(moment)
        for deployment, healthy in deployments:
            if listener.hears_deployment(deployment.mcp_id):
                await _has_room(listener)
                _tell_deployment(listener, _status_of(deployment, healthy))
        last: TaskRecord | None = None
        while True:
            async with self._stores.read() as rows:
                ended = await rows.tasks.ended_since(moment, listener.owner, last, _AT_ONCE)
            for task in ended:
                await _has_room(listener)
                view = await self._reader.view(task)
                listener.outbox.put(task.task_id, "task_update", render_update(view))
            if len(ended) < _AT_ONCE:
                return
            last = ended[-1]

    async def _hear(self) -> None:
        async with aclosing(listen(self._stores.cache, Channel.EVENTS)) as messages:
            async for message in messages:
                if message.interrupted:
                    self._deaf_since = self._deaf_since or time.time()
                elif message.channel is None:
                    self._hear_again()
                else:
                    try:
                        self._pass_on(Event.model_validate(message.data))
                    except (ValueError, KeyError):
                        logger.warning("event_not_understood", channel=message.channel)

    def _hear_again(self) -> None:
        """Tell what may have been missed in an interruption, or between two."""
        since = self._deaf_since or time.time()
        for listener in self._listeners:
            self._tell_missed(listener, min(since, listener.missed_since or since))
        self._deaf_since = None

    def _tell_drift(self, event: Event) -> None:
        text = json.dumps({"type": event.type, **event.data})
        for listener in self._listeners:
            if listener.hears_connection(event):
                listener.outbox.put(f"drift/{event.data['connection_id']}", event.type, text)

    def _pass_on(self, event: Event) -> None:
        if event.type is EventType.GITHUB_DRIFT:
            self._tell_drift(event)
            return
        for listener in self._listeners:
            if event.type is EventType.TASK_STARTED:
                if listener.owner in {None, event.owner_id}:
                    self._follow(listener, event.data["task_id"])
            elif event.type is EventType.TOOL_QUARANTINED:
                if listener.hears_deployment(UUID(event.data["mcp_id"])):
                    text = json.dumps({"type": event.type, **event.data})
                    listener.outbox.put(f"{event.data['mcp_id']}/{event.data['tool']}", event.type, text)
            elif event.type is EventType.AUTHORIZATION_STATUS:
                if listener.hears_authorization(event):
                    number = event.data["authorization_id"]
                    listener.outbox.put(number, event.type, json.dumps({"type": event.type, **event.data}))
            elif listener.hears_deployment(UUID(event.data["tool_id"])):
                _tell_deployment(listener, event.data)


async def _has_room(listener: Listener) -> None:
    """Wait while the listener has much to read already: what it missed is not worth cutting it off."""
    while not listener.outbox.has_room:  # noqa: ASYNC110 - nobody is told of room, and few wait for it
        await asyncio.sleep(_FULL_WAIT)


def _tell_deployment(listener: Listener, data: dict[str, Any]) -> None:
    text = json.dumps({"type": EventType.DEPLOYMENT_STATUS, **data})
    listener.outbox.put(data["deployment_id"], EventType.DEPLOYMENT_STATUS, text)


def _status_of(deployment: Deployment, healthy: int) -> dict[str, Any]:
    """Say where a deployment stands, as the event of its last change did."""
    said: dict[str, Any] = {
        "deployment_id": str(deployment.id),
        "status": deployment.status,
        "health_status": deployment.health_status,
        "replicas": deployment.config.replicas,
        "healthy": healthy,
        "reason": deployment.reason,
        "rollout": deployment.rollout and deployment.rollout.model_dump(mode="json"),
        "tool_id": str(deployment.mcp_id),
        "tool_name": deployment.tool_name,
    }
    if deployment.stopped_at is not None:
        said["stopped_at"] = deployment.stopped_at.isoformat()
    return said
