"""Ends of containers, from one stream of the engine's events, however many replicas wait."""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import structlog

from activities.clients.containers.spec import own_filter
from activities.clients.docker_engine import DockerEngine
from activities.drivers import ReplicaFault

log = structlog.get_logger(__name__)

_LISTENED: Final = 30.0
"""Seconds without an event after which the stream is opened anew: its other end may be gone."""
_SEEN_AGAIN: Final = 10
"""Seconds before a stream began whose events are given once more: none falls between two streams."""
_TRIED_AGAIN: Final = 0.25


class Ends:
    """Wakes who waits for containers to end. The stream is open while anyone waits."""

    def __init__(self, engine: DockerEngine, instance: str) -> None:
        self._engine = engine
        self._query = {
            "filters": json.dumps(
                {"type": ["container"], "event": ["die", "destroy"], "label": own_filter(instance, "docker")}
            )
        }
        self._labels = own_filter(instance, "docker")
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._listener: asyncio.Task[None] | None = None

    @contextmanager
    def of(self, container: str) -> Iterator[asyncio.Event]:
        """Give an event that is set when the container may have ended: whoever waits looks for himself."""
        woken = asyncio.Event()
        self._waiting[container].add(woken)
        if self._listener is None:
            self._listener = asyncio.create_task(self._listen())
        try:
            yield woken
        finally:
            self._waiting[container].discard(woken)
            if not self._waiting[container]:
                del self._waiting[container]
            if not self._waiting and self._listener is not None:
                self._listener.cancel()
                self._listener = None

    async def close(self) -> None:
        """Stop listening, whoever waits."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.wait({self._listener})
            self._listener = None

    def _wake(self, container: str) -> None:
        for woken in self._waiting.get(container, ()):
            woken.set()

    async def _listen(self) -> None:
        while True:
            with suppress(TimeoutError):
                try:
                    await self._read()
                except (ReplicaFault, LookupError):
                    await asyncio.sleep(_TRIED_AGAIN)
                except ValueError:
                    # A listener that died would leave all who wait without an answer.
                    log.exception("event_not_understood")
                    await asyncio.sleep(_TRIED_AGAIN)

    async def _read(self) -> None:
        """Read events until the stream ends: what ended before it began, during an absence, counts too."""
        since = {"since": str(int(time.time()) - _SEEN_AGAIN)}
        async with self._engine.stream("/events", self._query | since, silence=_LISTENED) as answer:
            await self._look_again()
            async for line in answer.content:
                self._wake(json.loads(line)["id"])
        await asyncio.sleep(_TRIED_AGAIN)

    async def _look_again(self) -> None:
        running = await self._engine.call(
            lambda client: client.api.containers(
                filters={"label": self._labels, "status": ["running", "paused"]}
            )
        )
        alive = {one["Id"] for one in running}
        for container in list(self._waiting):
            if container not in alive:
                self._wake(container)
