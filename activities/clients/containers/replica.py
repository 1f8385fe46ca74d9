"""A replica that is a container, as the worker that watches it sees it."""

import asyncio
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from docker.errors import NotFound

from activities.clients.containers.events import Ends
from activities.clients.containers.logs import log_lines
from activities.clients.containers.spec import end_reason
from activities.clients.containers.usage import measured
from activities.clients.docker_engine import DockerEngine
from activities.clients.output import Output
from activities.drivers import DriverUnavailable, LogLine, ReplicaFault, Usage
from mcp_platform.variables import Mask

_TRIED_AGAIN: Final = 0.5
_LINGER: Final = 2.0
"""Seconds for which the log is followed on when nobody watches: the next watch may be about to begin."""
_LAST_WORDS: Final = 1.0
"""Seconds that the last lines may take to come after a container's end."""
_STATE_SETTLES: Final = 20
"""How often a container that is said to have ended is looked at: a busy engine takes its time."""
_FIRST_LOOKS: Final = 0.05
_LONGEST_LOOKS: Final = 1.0


class LogFollower:
    """Follows the log of one container while anyone watches it.

    Only who watches a replica follows its log: were it followed by each worker that ever started or
    watched it, lines would be kept twice. The engine keeps them, so nothing is lost in between.

    Args:
        engine: Who has the log.
        path: Its path, such as `/containers/<id>`.
        output: Where the lines go.
    """

    def __init__(self, engine: DockerEngine, path: str, output: Output) -> None:
        self.output = output
        self._engine = engine
        self._path = path
        self._since = output.log.last_at
        self._watchers = 0
        self._task: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._reading = asyncio.Lock()

    @property
    def is_watched(self) -> bool:
        """Whether anyone watches."""
        return self._watchers > 0

    def hold(self) -> None:
        """Follow from now on."""
        self._watchers += 1
        # One that was told to stop may not have heard of it yet.
        if self._task is None or self._task.done() or self._task.cancelling():
            self._task = asyncio.create_task(self._follow())

    def release(self) -> None:
        """Follow no more, soon, unless somebody holds it again."""
        self._watchers -= 1
        asyncio.get_running_loop().call_later(_LINGER, self._stop_unwatched)

    async def last_words(self, within: float = _LAST_WORDS) -> None:
        """Read on to the end of the log of a container that has ended, as far as time allows."""
        with suppress(TimeoutError, ReplicaFault, LookupError):
            async with asyncio.timeout(within):
                if self._task is not None and not self._task.done():
                    await asyncio.wait({self._task})
                else:
                    await self._read(follow=False)

    async def close(self) -> None:
        """Stop at once, but for lines that are being kept."""
        if self._task is not None:
            self._task.cancel()
        if at_work := {each for each in (self._task, self._keeping) if each is not None}:
            await asyncio.wait(at_work)

    def _stop_unwatched(self) -> None:
        if not self.is_watched and self._task is not None:
            self._task.cancel()

    async def _follow(self) -> None:
        while True:
            try:
                await self._read(follow=True)
                return
            except LookupError:
                return
            except ReplicaFault:
                await asyncio.sleep(_TRIED_AGAIN)

    async def _read(self, *, follow: bool) -> None:
        # One at a time: of two who read, each would keep the same lines.
        async with self._reading:
            if self._keeping is not None:
                await asyncio.shield(self._keeping)
            async with aclosing(log_lines(self._engine, self._path, self._since, follow=follow)) as found:
                async for lines in found:
                    # Whoever is cancelled here leaves a line neither half kept nor kept twice.
                    self._keeping = asyncio.create_task(self._keep(lines))
                    await asyncio.shield(self._keeping)

    async def _keep(self, lines: list[LogLine]) -> None:
        await self.output.keep(lines)
        self._since = max(line.at for line in lines)


@dataclass(frozen=True)
class DockerReplica:
    """A replica's container."""

    replica_id: UUID
    container: str
    url: str
    port: int
    """Where it listens inside."""
    mask: Mask
    memory: int
    engine: DockerEngine
    ends: Ends
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
        """Wait until the container ends, and tell why; while the engine is away it counts as running."""
        self.log.hold()
        try:
            with self.ends.of(self.container) as woken:
                while True:
                    state = await self._settled(1)
                    while state and state["Running"]:
                        await woken.wait()
                        woken.clear()
                        state = await self._settled(_STATE_SETTLES)
                    await self.log.last_words()
                    return self.reason(state) if state else "its container was removed"
        finally:
            self.log.release()

    async def usage(self) -> Usage | None:
        """Measure the container; None once it is gone."""
        return await measured(self.engine, self.container)

    async def silence(self) -> str | None:
        """Tell what the engine can about a replica that does not answer: whether anyone listens there."""
        host, _, port = self.url.removeprefix("http://").partition("/")[0].rpartition(":")
        try:
            async with asyncio.timeout(_LAST_WORDS):
                reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
                try:
                    # Docker's own proxy accepts for it, and hangs up when it finds nobody inside.
                    refused = not await reader.read(1)
                finally:
                    writer.close()
        except TimeoutError:
            return None
        except OSError:
            refused = True
        return f"nothing listens on port {self.port} in the container" if refused else None

    def reason(self, state: dict[str, Any]) -> str:
        """Tell why it ended."""
        return end_reason(state, self.memory, self.log.output.runner_said)

    async def _settled(self, looks: int) -> dict[str, Any] | None:
        """Give the container's state once it does not run, or after so many looks; None if it is gone."""
        state: dict[str, Any] | None = None
        pause = _FIRST_LOOKS
        while looks > 0:
            try:
                state = await self.engine.call(lambda client: state_of(client, self.container))
            except DriverUnavailable:
                await asyncio.sleep(_TRIED_AGAIN)
                continue
            looks -= 1
            if state is None or not state["Running"]:
                break
            if looks:
                await asyncio.sleep(pause)
                pause = min(pause * 1.25, _LONGEST_LOOKS)
        return state


def state_of(client: Any, container: str) -> dict[str, Any] | None:
    """Give a container's state as the engine describes it; None if there is no such container."""
    try:
        state: dict[str, Any] = client.api.inspect_container(container)["State"]
    except NotFound:
        return None
    return state
