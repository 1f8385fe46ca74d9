"""A replica that is a service, as the worker that watches it sees it."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from activities.clients.containers.replica import LogFollower, state_of
from activities.clients.containers.usage import measured
from activities.clients.docker_engine import DockerEngine
from activities.clients.services.spec import container_of, why_over
from activities.clients.services.tasks import Task, TaskEnds
from activities.drivers import ReplicaFault, Usage
from mcp_platform.variables import Mask


@dataclass(frozen=True)
class SwarmReplica:
    """A replica's service, with its task."""

    replica_id: UUID
    container: str
    """The id of the service."""
    task_id: str
    url: str
    mask: Mask
    memory: int
    engine: DockerEngine
    ends: TaskEnds
    log: LogFollower
    headers: dict[str, str] = field(default_factory=dict)
    pid: None = None
    health_url: None = None

    @property
    def shown_url(self) -> str:
        """The address: there is nothing secret in it."""
        return self.url

    @property
    def stderr_tail(self) -> list[str]:
        """The last lines that it wrote."""
        return self.log.output.tail

    async def exited(self) -> str:
        """Wait until the task ends, and tell why; while the swarm is away it counts as running."""
        self.log.hold()
        try:
            with self.ends.of(self.container) as ended:
                task = await ended
                await self.log.last_words()
                return await self.reason(task) if task else "its service was removed"
        finally:
            self.log.release()

    async def usage(self) -> Usage | None:
        """Measure its container; None if that is on another node, or gone."""
        try:
            task = await self.engine.call(lambda client: client.api.inspect_task(self.task_id))
        except ReplicaFault:
            return None
        container = container_of(task)
        return await measured(self.engine, container) if container else None

    async def silence(self) -> str | None:
        """Nothing: the port is the node's, whoever listens in the container."""
        return None

    async def reason(self, task: Task) -> str:
        """Tell why its task ended; of a container on this engine more is known."""
        container = container_of(task)
        state: dict[str, Any] | None = None
        if container:
            try:
                state = await self.engine.call(lambda client: state_of(client, container))
            except ReplicaFault:
                state = None
        return why_over(task, self.memory, self.log.output.runner_said, state)
