"""Who listens to `/events`, and what each of them may hear."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

import structlog
from pydantic import ValidationError

from api.outbox import Outbox
from api.status_hub import StatusHub
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.events import Event, EventType
from mcp_platform.errors import Unavailable
from mcp_platform.names import Channel
from storage.cache import listen
from storage.stores import Stores

logger = structlog.get_logger(__name__)


@dataclass(eq=False)
class _Listener:
    principal: Principal
    outbox: Outbox

    @property
    def hears_all_tasks(self) -> bool:
        return Permission.TASKS_ALL in self.principal.permissions


class Listeners:
    """The event streams of one process, fed by the other processes' messages and by the hub."""

    def __init__(self, stores: Stores, hub: StatusHub) -> None:
        self._stores = stores
        self._hub = hub
        self._listeners: set[_Listener] = set()

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
    async def listening(self, principal: Principal, outbox: Outbox) -> AsyncIterator[None]:
        """Tell this caller what they may hear while the body runs, open tasks first."""
        listener = _Listener(principal, outbox)
        self._listeners.add(listener)
        try:
            await self._follow_open_tasks(listener)
            yield
        finally:
            self._listeners.discard(listener)
            self._hub.leave(outbox)

    async def _follow_open_tasks(self, listener: _Listener) -> None:
        owner = None if listener.hears_all_tasks else listener.principal.user_id
        async with self._stores.read() as rows:
            for task in await rows.tasks.open_tasks(owner):
                self._follow(listener, task.task_id)

    def _follow(self, listener: _Listener, task_id: str) -> None:
        # One that left while the rows were read must not be followed for: nobody would end that.
        if listener in self._listeners:
            self._hub.subscribe(task_id, listener.outbox)

    async def _hear(self) -> None:
        async with aclosing(listen(self._stores.cache, Channel.EVENTS)) as messages:
            async for message in messages:
                if message.channel is None:
                    await self._catch_up()
                    continue
                try:
                    self._pass_on(Event.model_validate(message.data))
                except ValidationError:
                    logger.warning("event_not_understood", channel=message.channel)

    async def _catch_up(self) -> None:
        """Follow what may have been missed in an interruption."""
        for listener in list(self._listeners):
            try:
                await self._follow_open_tasks(listener)
            except Unavailable as error:
                logger.warning("listeners_not_caught_up", error=str(error))

    def _pass_on(self, event: Event) -> None:
        for listener in self._listeners:
            if event.type is EventType.TASK_STARTED:
                if listener.hears_all_tasks or listener.principal.user_id == event.owner_id:
                    self._follow(listener, event.data["task_id"])
            elif Permission.DEPLOYMENTS_READ in listener.principal.permissions:
                text = json.dumps({"type": event.type, **event.data})
                listener.outbox.put(event.data["deployment_id"], event.type, text)
