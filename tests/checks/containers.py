"""A container driver without an engine: what it is asked to run is a server on loopback."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.drivers import DriverUnavailable, ReplicaSpec, Usage
from mcp_platform.contracts.checks import TrialOrder
from mcp_platform.variables import Mask
from tests.checks.remote_server import remote_server

IMAGE = f"sha256:{'1' * 64}"


@dataclass
class Box:
    """A server that stands for a container."""

    url: str
    memory: int = 1_000_000
    headers: dict[str, str] = field(default_factory=dict)
    mask: Mask = field(default_factory=Mask)
    health_url: None = None
    pid: None = None
    container: str = "box"
    stderr_tail: list[str] = field(default_factory=lambda: ["it runs"])

    @property
    def shown_url(self) -> str:
        """The same."""
        return self.url

    async def exited(self) -> str:
        """Never."""
        await asyncio.Event().wait()
        raise AssertionError

    async def usage(self) -> Usage | None:
        """Give what it was said to use."""
        return Usage(0.1, self.memory)

    async def silence(self) -> str | None:
        """Nothing."""
        return None


class Boxes:
    """The driver, with what it was asked to run."""

    def __init__(self, path: str = "/mcp", memory: int = 1_000_000) -> None:
        self.specs: list[ReplicaSpec] = []
        self.running: dict[UUID, AsyncExitStack] = {}
        self.away = False
        self._path = path
        self._memory = memory

    async def check(self) -> None:
        """Return unless it is away."""
        if self.away:
            raise DriverUnavailable("the engine is away")

    async def ensure_running(self, spec: ReplicaSpec) -> Any:
        """Start a server."""
        self.specs.append(spec)
        stack = AsyncExitStack()
        server = await stack.enter_async_context(remote_server())
        self.running[spec.replica_id] = stack
        return Box(server.url + self._path, self._memory)

    async def find(self, spec: ReplicaSpec) -> None:
        """Find nothing: no trial is taken up again."""

    async def ensure_absent(self, replica_id: UUID) -> None:
        """End it."""
        stack = self.running.pop(replica_id, None)
        if stack is not None:
            await stack.aclose()

    async def living(self) -> set[UUID]:
        """Give what runs."""
        return set(self.running)

    async def sweep(self, wanted: set[UUID], older_than: float) -> list[UUID]:
        """Sweep nothing."""
        return []


class Builder:
    """Builds nothing, and says that it did; or that it could not."""

    def __init__(self, failure: str | None = None) -> None:
        self.failure = failure
        self.orders: list[TrialOrder] = []

    @activity.defn(name="images.build_draft")
    async def build_draft(self, order: TrialOrder) -> str:
        """Give an image."""
        self.orders.append(order)
        if self.failure:
            raise ApplicationError(self.failure, type="BuildFailed", non_retryable=True)
        return IMAGE
