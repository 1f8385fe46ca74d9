"""What several tasks do at once with one engine is done once. None is needed, only what it would say."""

import asyncio
import json
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock
from uuid import uuid4

import pytest
from docker.errors import ImageNotFound

from activities.clients import processes
from activities.clients.containers.images import Images
from activities.clients.containers.replica import LogFollower
from activities.clients.docker_engine import Capacity
from activities.clients.output import Output
from activities.clients.processes import ProcessDriver
from activities.clients.services.driver import SwarmDriver
from activities.drivers import LogLine, ReplicaFault
from mcp_platform.docker_settings import DockerSettings
from mcp_platform.variables import Mask
from tests.drivers.rigs import RecordedLog, spec_of, tiny
from tests.waiting import PATIENCE

TASK = {
    "ID": "task-1",
    "ServiceID": "service-1",
    "NodeID": "node-2",
    "CreatedAt": "2026-01-01T00:00:00Z",
    "DesiredState": "running",
    "Status": {"State": "running", "PortStatus": {"Ports": [{"PublishedPort": 30000}]}},
}


class Content:
    """A stream of what an engine says, once it is to."""

    def __init__(self, pieces: Sequence[bytes], go_on: asyncio.Event) -> None:
        self._left = list(pieces)
        self._go_on = go_on

    async def readany(self) -> bytes:
        await self._go_on.wait()
        return self._left.pop(0) if self._left else b""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self.readany():
            yield piece


class Said:
    """An engine that says what it is told to.

    Args:
        pieces: Of every stream.
        api: What the SDK answers.
    """

    def __init__(self, *pieces: bytes, **api: Any) -> None:
        self.settings = DockerSettings()
        self.go_on = asyncio.Event()
        self.open = self.most_open = 0
        self._pieces = pieces
        self._client: Any = SimpleNamespace(api=SimpleNamespace(**api))

    async def call(self, ask: Callable[[Any], Any]) -> Any:
        await steps()
        return ask(self._client)

    async def capacity(self) -> Capacity:
        return Capacity(1, 1, "x86_64", "node-1")

    @asynccontextmanager
    async def stream(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        try:
            yield SimpleNamespace(content=Content(self._pieces, self.go_on))
        finally:
            await steps()
            self.open -= 1


@dataclass
class HeldLog(RecordedLog):
    """Keeps lines once it is to."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(self, lines: Sequence[LogLine]) -> None:
        self.asked.set()
        await self.go_on.wait()
        await super().write(lines)


async def steps() -> None:
    """Let everybody have several turns."""
    for _ in range(20):
        await asyncio.sleep(0)


def follower(engine: Any, log: RecordedLog) -> LogFollower:
    """Follow the log of a container."""
    return LogFollower(engine, "/containers/one", Output(log, Mask()))


def frame(text: str) -> bytes:
    """Write a line as an engine's log has it."""
    body = f"2026-11-21T12:00:00.123456789Z {text}\n".encode()
    return bytes([2, 0, 0, 0]) + len(body).to_bytes(4, "big") + body


async def test_two_who_read_a_log_at_once_keep_its_lines_once() -> None:
    engine, log = Said(frame("one")), RecordedLog()
    followed = follower(engine, log)
    reading = [asyncio.create_task(followed.last_words(PATIENCE)) for _ in range(2)]
    await steps()
    engine.go_on.set()
    await asyncio.gather(*reading)
    assert log.texts == ["one"]


async def test_a_log_is_closed_once_its_stream_is_and_what_was_read_is_kept() -> None:
    engine, log = Said(frame("one")), HeldLog()
    engine.go_on.set()
    followed = follower(engine, log)
    followed.hold()
    await asyncio.wait_for(log.asked.wait(), PATIENCE)
    closing = asyncio.create_task(followed.close())
    await steps()
    assert not closing.done()
    log.go_on.set()
    await closing
    assert log.texts == ["one"]
    assert engine.open == 0


async def test_a_stream_whose_reader_is_called_off_is_closed_by_him() -> None:
    engine, log = Said(frame("one")), HeldLog()
    engine.go_on.set()
    reading = asyncio.create_task(follower(engine, log).last_words(PATIENCE))
    await asyncio.wait_for(log.asked.wait(), PATIENCE)
    reading.cancel()
    await asyncio.wait({reading})
    assert engine.open == 0
    log.go_on.set()
    await steps()


async def test_an_image_is_pulled_by_one_at_a_time_also_when_that_fails() -> None:
    engine = Said(
        json.dumps({"error": "it broke"}).encode(), inspect_image=Mock(side_effect=ImageNotFound("no"))
    )
    images = Images(engine)  # type: ignore[arg-type]
    first = asyncio.create_task(images.ensure("box:1"))
    second = asyncio.create_task(images.ensure("box:1"))
    await steps()
    first.add_done_callback(lambda _: engine.go_on.clear())
    engine.go_on.set()
    with pytest.raises(ReplicaFault, match="it broke"):
        await first
    third = asyncio.create_task(images.ensure("box:1"))
    for _ in range(10):
        await steps()
    assert engine.open == 1
    engine.go_on.set()
    for each in (second, third):
        with pytest.raises(ReplicaFault, match="it broke"):
            await each
    assert engine.most_open == 1


async def test_two_who_find_a_task_of_another_node_share_what_follows_its_log() -> None:
    engine: Any = Said(
        services=lambda _: [{"ID": "service-1"}],
        tasks=lambda _: [TASK],
        inspect_node=lambda _: {"Status": {"Addr": "192.0.2.2"}},
    )
    driver, spec = SwarmDriver(engine, "own", 1.0), spec_of(tiny(), "box:1")
    one, other = await asyncio.gather(driver.find(spec), driver.find(spec))
    assert one is other
    assert one is not None
    assert one.url.startswith("http://192.0.2.2:30000/")
    await driver.close()


async def test_a_process_that_never_said_its_port_is_no_replica_for_who_comes_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = asyncio.Event()

    async def silent(*_: Any) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *("sleep", "600"), stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True
        )

    async def why(*_: Any) -> str:
        asked.set()
        await asyncio.Event().wait()
        return ""

    monkeypatch.setattr(processes, "_LISTEN_TIMEOUT", 0.05)
    monkeypatch.setattr(ProcessDriver, "_spawn", silent)
    monkeypatch.setattr(ProcessDriver, "_why_not", why)
    driver, spec = ProcessDriver(uuid4().hex, 1.0), spec_of(tiny())
    starting = asyncio.create_task(driver.ensure_running(spec))
    await asyncio.wait_for(asked.wait(), PATIENCE)
    starting.cancel()
    await asyncio.wait({starting})
    try:
        assert await driver.find(spec) is None
    finally:
        await driver.close()
