"""Ends of tasks, from one question for all of them: a swarm tells no events of other nodes' tasks."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import structlog
from docker import DockerClient

from activities.clients.containers.spec import own_filter
from activities.clients.docker_engine import DockerEngine
from activities.clients.services.spec import is_over
from activities.drivers import ReplicaFault

log = structlog.get_logger(__name__)

_EVERY: Final = 0.4
"""Seconds between two looks."""

Task = dict[str, Any]


class TaskEnds:
    """Tells who waits how a service's task ended. The swarm is asked while anyone waits."""

    def __init__(self, engine: DockerEngine, instance: str) -> None:
        self._engine = engine
        self._labels = own_filter(instance, "swarm")
        self._waiting: dict[str, set[asyncio.Future[Task | None]]] = {}
        self._looker: asyncio.Task[None] | None = None

    @contextmanager
    def of(self, service: str) -> Iterator[asyncio.Future[Task | None]]:
        """Give what becomes the service's task once that is over; None if there is no task any more."""
        ended: asyncio.Future[Task | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(service, set()).add(ended)
        if self._looker is None:
            self._looker = asyncio.create_task(self._look())
        try:
            yield ended
        finally:
            self._waiting[service].discard(ended)
            ended.cancel()
            if not self._waiting[service]:
                del self._waiting[service]
            if not self._waiting and self._looker is not None:
                self._looker.cancel()
                self._looker = None

    async def close(self) -> None:
        """Stop looking, whoever waits."""
        if self._looker is not None:
            self._looker.cancel()
            await asyncio.wait({self._looker})
            self._looker = None

    async def _look(self) -> None:
        while True:
            asked = list(self._waiting)
            try:
                found = await self._engine.call(lambda client: newest_tasks(client, self._labels))
            except ReplicaFault:
                pass  # away: nothing is known of them
            except Exception:
                # A looker that died would leave all who wait without an answer.
                log.exception("tasks_not_seen")
            else:
                for service in asked:
                    task = found.get(service)
                    if task is None or is_over(task):
                        self._tell(service, task)
            await asyncio.sleep(_EVERY)

    def _tell(self, service: str, task: Task | None) -> None:
        for ended in self._waiting.get(service, ()):
            if not ended.done():
                ended.set_result(task)


def newest_tasks(client: DockerClient, labels: list[str]) -> dict[str, Task]:
    """Give the task of each service that has these labels, or had: the newest, should there be several."""
    found: dict[str, Task] = {}
    for task in client.api.tasks({"label": labels}):
        known = found.get(task["ServiceID"])
        if known is None or task["CreatedAt"] > known["CreatedAt"]:
            found[task["ServiceID"]] = task
    return found
