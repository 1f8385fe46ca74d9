"""What the drivers' contract needs to know of each driver: how one is made, and what it left behind."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from activities.clients.containers.driver import DockerDriver
from activities.clients.docker_engine import DockerEngine
from activities.clients.probe import McpProbe
from activities.clients.processes import ProcessDriver
from activities.clients.services.driver import SwarmDriver
from activities.drivers import LogLine, ReplicaFault, ReplicaSpec, RunningReplica
from mcp_platform.contracts.mcps import ServerConfig
from mcp_platform.contracts.resources import Resources
from mcp_platform.docker_settings import DockerSettings
from mcp_platform.variables import Mask
from tests.services.docker import DockerEngine as RealEngine
from tests.services.docker_images import that_runs
from tests.waiting import eventually

SECRET = "s3cret-value-of-a-test"
GRACE = 5.0
"""Seconds that what is ended has for its last words: all of these servers leave as soon as they are asked."""
NOTICED = 15.0
"""Seconds that a crowded machine may take to tell that something ended; without an event it takes 30."""
_TINY = (Path(__file__).parents[1] / "deployments/tiny_server.py").read_text()


@dataclass
class RecordedLog:
    """Keeps lines in memory."""

    lines: list[LogLine] = field(default_factory=list)

    @property
    def last_at(self) -> datetime | None:
        """The time of the newest line."""
        return max((line.at for line in self.lines), default=None)

    @property
    def texts(self) -> list[str]:
        """The lines without their times."""
        return [line.text for line in self.lines]

    async def write(self, lines: Sequence[LogLine]) -> None:
        """Keep them."""
        self.lines.extend(lines)


def tiny(before: str = "") -> ServerConfig:
    """Give a small server over stdio that runs some code first; arguments and environment hold a secret."""
    code = f"import sys, time\n{before}\n{_TINY}"
    return ServerConfig(name="tiny", command="python3", args=["-c", code, SECRET], env={"TOKEN": SECRET})


def spec_of(server: ServerConfig, image: str | None = None, **others: Any) -> ReplicaSpec:
    """Wish for a new replica of this server."""
    spec = ReplicaSpec(
        replica_id=uuid4(),
        server=server,
        patience=30.0,
        mask=Mask([SECRET]),
        deployment_id=uuid4(),
        slug="clock",
        image=image,
        resources=Resources(cpu="1", memory="128Mi"),
        log=RecordedLog(),
    )
    return replace(spec, **others)


def written(spec: ReplicaSpec) -> RecordedLog:
    """Give the log of a wish."""
    assert isinstance(spec.log, RecordedLog)
    return spec.log


async def answered(running: RunningReplica, within: float = 30.0) -> None:
    """Ask the replica until it answers as an MCP server does."""
    async with asyncio.timeout(within), McpProbe() as probe:
        while True:
            try:
                return await probe.check(running.url, running.headers, 2.0)
            except ReplicaFault:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def watching(running: RunningReplica) -> AsyncIterator[asyncio.Task[str]]:
    """Wait for its end, as the platform's workers do."""
    watch = asyncio.create_task(running.exited())
    try:
        yield watch
    finally:
        watch.cancel()
        await asyncio.wait({watch})


async def logged(spec: ReplicaSpec, *texts: str) -> list[str]:
    """Wait until the log has these lines, and give all of it."""

    async def ask() -> list[str]:
        return written(spec).texts

    return await eventually(ask, lambda kept: set(texts) <= set(kept))


class Rig(Protocol):
    """One kind of driver, for one platform of its own."""

    image: str | None

    def driver(self) -> Any:
        """Open a driver, as one worker has it."""

    async def kill(self, replica: RunningReplica) -> None:
        """Kill what runs, from outside."""

    async def left(self) -> list[str]:
        """List what there is of this platform."""


class ProcessRig:
    """Child processes."""

    image: str | None = None

    def __init__(self) -> None:
        self._instance = uuid4().hex[:12]

    @asynccontextmanager
    async def driver(self) -> AsyncIterator[ProcessDriver]:
        """Open a driver."""
        driver = ProcessDriver(self._instance, GRACE)
        try:
            yield driver
        finally:
            await driver.close()

    async def kill(self, replica: RunningReplica) -> None:
        """Kill the runner."""
        assert replica.pid
        os.kill(replica.pid, signal.SIGKILL)

    async def left(self) -> list[str]:
        """List the replicas of which a process lives."""
        return [str(one) for one in await ProcessDriver(self._instance, GRACE).living()]


class DockerRig:
    """Containers of the tests' engine."""

    def __init__(self, engine: RealEngine, image: str) -> None:
        self.engine = engine
        self.image: str | None = image
        self.instance = uuid4().hex[:12]
        self.labels = [f"mcp-platform.instance={self.instance}"]

    @asynccontextmanager
    async def driver(self, **settings: Any) -> AsyncIterator[DockerDriver]:
        """Open a driver with a connection of its own."""
        engine = DockerEngine(DockerSettings(**{"host": self.engine.host, **settings}))
        driver = DockerDriver(engine, self.instance, GRACE)
        try:
            yield driver
        finally:
            await driver.close()
            await engine.close()

    async def kill(self, replica: RunningReplica) -> None:
        """Kill what the container runs, without the engine's help."""
        os.kill((await self.inspected(replica))["State"]["Pid"], signal.SIGKILL)

    async def inspected(self, replica: RunningReplica) -> dict[str, Any]:
        """Give the replica's container as the engine describes it."""
        assert replica.container
        found: dict[str, Any] = await asyncio.to_thread(
            self.engine.client.api.inspect_container, replica.container
        )
        return found

    async def inside(self, replica: RunningReplica, *command: str) -> str:
        """Run a command inside the container; what it says."""
        container = (await self.inspected(replica))["Id"]

        def run() -> str:
            api = self.engine.client.api
            return str(api.exec_start(api.exec_create(container, list(command))["Id"]).decode())

        return await asyncio.to_thread(run)

    async def image_that_runs(self, *command: str) -> str:
        """Make an image that runs this command."""
        assert self.image
        return await asyncio.to_thread(that_runs, self.engine.client, self.image, list(command))

    async def say(self, replica: RunningReplica, text: str) -> None:
        """Write a line to the standard error of what runs."""
        pid = (await self.inspected(replica))["State"]["Pid"]
        await asyncio.to_thread(Path(f"/proc/{pid}/fd/2").write_text, f"{text}\n")

    async def left(self) -> list[str]:
        """List containers and networks of this platform."""
        return await asyncio.to_thread(self._left)

    def _left(self) -> list[str]:
        api = self.engine.client.api
        containers = api.containers(all=True, filters={"label": self.labels})
        networks = api.networks(filters={"label": self.labels})
        return [one["Names"][0] for one in containers] + [one["Name"] for one in networks]


class SwarmRig(DockerRig):
    """Services of the tests' swarm."""

    @asynccontextmanager
    async def driver(self, **settings: Any) -> AsyncIterator[SwarmDriver]:  # type: ignore[override]
        """Open a driver with a connection of its own."""
        engine = DockerEngine(DockerSettings(**{"host": self.engine.host, **settings}))
        driver = SwarmDriver(engine, self.instance, GRACE)
        try:
            yield driver
        finally:
            await driver.close()
            await engine.close()

    async def inspected(self, replica: RunningReplica) -> dict[str, Any]:
        """Give the container of the service's task."""
        assert replica.container
        label = f"com.docker.swarm.service.id={replica.container}"

        def inspect() -> dict[str, Any]:
            api = self.engine.client.api
            found: dict[str, Any] = api.inspect_container(api.containers(filters={"label": label})[0]["Id"])
            return found

        return await asyncio.to_thread(inspect)

    def _left(self) -> list[str]:
        services = self.engine.client.api.services({"label": self.labels})
        return super()._left() + [one["Spec"]["Name"] for one in services]
