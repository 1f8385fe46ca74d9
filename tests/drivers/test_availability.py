"""What the workers tell the other processes of their drivers."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from redis.asyncio import Redis

from activities.drivers import ReplicaDriver
from mcp_platform.contracts.deployments import Driver
from mcp_platform.contracts.drivers import DriverState
from mcp_platform.docker_settings import DockerSettings
from mcp_platform.settings import Settings
from storage.cache import DriverStates
from tests.services.docker import DockerEngine
from tests.waiting import eventually
from worker import drivers as drivers_module
from worker.drivers import open_drivers, reported


async def test_what_a_worker_sees_is_told_and_forgotten_after_a_while(cache: Redis) -> None:
    states = DriverStates(cache)
    assert await states.read(Driver.DOCKER) is None
    assert await states.trouble(Driver.DOCKER) is None
    await states.report(Driver.DOCKER, DriverState(trouble="away"))
    await states.report(Driver.SWARM, DriverState(cpus=2, memory_bytes=2**30))
    assert await states.trouble(Driver.DOCKER) == "away"
    assert await states.trouble(Driver.SWARM) is None
    assert await states.read(Driver.SWARM) == DriverState(cpus=2, memory_bytes=2**30)
    for driver in (Driver.DOCKER, Driver.SWARM):
        assert 0 < await cache.ttl(f"mcp-platform.driver.{driver}") <= 15


async def test_an_engine_that_is_not_there_is_told_with_its_address(cache: Redis, tmp_path: Path) -> None:
    host = f"unix://{tmp_path}/none.sock"
    states = DriverStates(cache)
    stores: Any = SimpleNamespace(drivers=states)
    async with AsyncExitStack() as stack:
        drivers = open_drivers(Settings(docker=DockerSettings(host=host)), stack)
        await stack.enter_async_context(reported(drivers, stores))
        trouble = await eventually(lambda: states.trouble(Driver.DOCKER))
    assert trouble == f"the Docker engine at {host} cannot be reached: no such file or directory"


async def test_the_size_of_the_engines_machine_is_told(cache: Redis, docker_engine: DockerEngine) -> None:
    info = await asyncio.to_thread(docker_engine.client.info)
    states = DriverStates(cache)
    stores: Any = SimpleNamespace(drivers=states)
    async with AsyncExitStack() as stack:
        drivers = open_drivers(Settings(docker=DockerSettings(host=docker_engine.host)), stack)
        await stack.enter_async_context(reported(drivers, stores))
        state = await eventually(lambda: states.read(Driver.DOCKER))
    assert state == DriverState(cpus=info["NCPU"], memory_bytes=info["MemTotal"])


async def test_a_look_that_fails_strangely_does_not_end_the_looking(
    cache: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drivers_module, "_REPORTED_EVERY", 0.01)
    looks = 0

    class Strange:
        async def check(self) -> None:
            nonlocal looks
            looks += 1
            if looks == 1:
                raise RuntimeError("of a kind that nobody foresaw")

    states = DriverStates(cache)
    stores: Any = SimpleNamespace(drivers=states)
    async with reported({Driver.DOCKER: cast(ReplicaDriver, Strange())}, stores):
        assert await eventually(lambda: states.read(Driver.DOCKER)) == DriverState()


async def test_no_engine_is_asked_where_containers_are_off() -> None:
    async with AsyncExitStack() as stack:
        drivers = open_drivers(Settings(docker=DockerSettings(enabled=False)), stack)
        assert set(drivers) == {Driver.REMOTE, Driver.PROCESS}
