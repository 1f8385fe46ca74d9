"""Who is called off while an engine is asked ends after that, however often. No engine is needed."""

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from activities.building import BuildTranscript, ImagePlan
from activities.clients.docker_engine import DockerEngine
from activities.clients.image_builder import DockerImageBuilder
from activities.drivers import ReplicaFault
from mcp_platform.docker_settings import DockerSettings
from mcp_platform.variables import Mask
from tests.waiting import PATIENCE


async def call_off_twice(task: asyncio.Task[Any]) -> None:
    """Cancel a task, and once more while it is still at it."""
    for _ in range(2):
        task.cancel()
        for _step in range(20):
            await asyncio.sleep(0)


async def test_nothing_that_an_engine_is_asked_goes_on_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def knock(_: DockerEngine) -> None:
        begun.set()
        assert go_on.wait(PATIENCE)

    monkeypatch.setattr(DockerEngine, "_knock", knock)
    monkeypatch.setattr(DockerEngine, "_connected", lambda _: None)
    engine = DockerEngine(DockerSettings())
    asking = asyncio.create_task(engine.call(lambda _: "created"))
    assert await asyncio.to_thread(begun.wait, PATIENCE)
    await call_off_twice(asking)
    assert not asking.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await engine.close()


class Refusing:
    """An engine that refuses to build, and takes its time over what is left of that."""

    def __init__(self) -> None:
        self.settings = DockerSettings()
        self.discarding, self.go_on = asyncio.Event(), asyncio.Event()
        self.pruned: list[Any] = []

    async def call(self, ask: Callable[[Any], Any]) -> Any:
        self.discarding.set()
        await self.go_on.wait()
        images = SimpleNamespace(prune=self.pruned.append)
        return ask(SimpleNamespace(images=images, api=SimpleNamespace(containers=lambda **_: [])))

    def stream(self, *_: Any, **__: Any) -> None:
        raise ReplicaFault("it has no room")


async def test_a_build_that_is_called_off_while_it_is_discarded_ends_after_that() -> None:
    engine: Any = Refusing()
    plan = ImagePlan("own/box:1", "FROM scratch\n", {})
    builder = DockerImageBuilder(engine, "own")
    building = asyncio.create_task(builder.build(plan, BuildTranscript(Mask()), lambda _: None))
    await asyncio.wait_for(engine.discarding.wait(), PATIENCE)
    await call_off_twice(building)
    assert not building.done()
    engine.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await building
    assert engine.pruned
