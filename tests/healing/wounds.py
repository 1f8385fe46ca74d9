"""A platform with a Docker engine, deployments on it, and what has to be true after each wound."""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from docker.models.containers import Container
from temporalio.client import Client

from mcp_platform.docker_settings import DockerSettings
from mcp_platform.names import INSTANCE_LABEL, REPLICA_LABEL
from mcp_platform.settings import Settings
from tests.deployments.servers import TINY
from tests.platform import Caller, RunningPlatform, quick_settings, running_platform
from tests.services.docker import DockerEngine
from tests.services.temporal import new_namespace
from tests.waiting import eventually

HEALS_WITHIN = 75.0
"""Seconds that a crowded machine may take to start containers one after the other."""


def boxed(image: str, word: str = "one") -> dict[str, Any]:
    """Give our small server in a container of an image that has our runner."""
    command = ["python3", "-c", TINY.read_text(), word]
    return {"name": "tiny", "image": image, "env": {"MCP_RUNNER_COMMAND": json.dumps(command)}}


@asynccontextmanager
async def platform_on(
    engine: DockerEngine, folder: Path, temporal: Client, **docker: Any
) -> AsyncIterator[RunningPlatform]:
    """Run a platform whose containers run on this engine."""
    settings = on_engine(quick_settings(folder), engine, **docker)
    async with running_platform(settings, await new_namespace(temporal)) as platform:
        yield platform


def on_engine(settings: Settings, engine: DockerEngine, **docker: Any) -> Settings:
    """Give the same settings with this engine."""
    return settings.model_copy(update={"docker": DockerSettings(host=engine.host, **docker)})


def containers_of(engine: DockerEngine, settings: Settings, *, everything: bool = True) -> list[Container]:
    """List the containers of a platform's replicas, those too that do not run any more."""
    label = f"{INSTANCE_LABEL}={settings.instance_id}"
    wanted: dict[str, str | list[str] | bool] = {"label": [label, REPLICA_LABEL]}
    return list(engine.client.containers.list(all=everything, filters=wanted, ignore_removed=True))


def networks_of(engine: DockerEngine, settings: Settings) -> list[str]:
    """List the networks of a platform."""
    label = f"{INSTANCE_LABEL}={settings.instance_id}"
    return [str(network.name) for network in engine.client.networks.list(filters={"label": label})]


async def deploy(
    admin: Caller, engine: DockerEngine, settings: Settings, server: dict[str, Any], replicas: int = 2
) -> dict[str, Any]:
    """Deploy a server, and wait until all of its replicas answer."""
    started = await admin.deploy(server, replicas=replicas)
    await healed(admin, engine, settings, started, replicas)
    return started


async def healed(
    admin: Caller, engine: DockerEngine, settings: Settings, started: dict[str, Any], replicas: int
) -> dict[str, Any]:
    """Wait until exactly the wished replicas run, each of them answers, and nothing else is there."""

    async def look() -> tuple[dict[str, Any], set[str], set[str]]:
        seen = await admin.deployment(started["deployment_id"])
        alive = {str(each.id)[:12] for each in containers_of(engine, settings, everything=False)}
        # The record may be older than a reboot: what does not run any more is not well.
        wished = {
            replica["container"]
            for replica in seen["replicas"]
            if replica["state"] == "healthy" and str(replica["container"])[:12] in alive
        }
        return seen, wished, {str(each.id) for each in containers_of(engine, settings)}

    def good(found: tuple[dict[str, Any], set[str], set[str]]) -> bool:
        seen, wished, there = found
        known = {known[:12] for known in wished if known}
        return (
            seen["status"] in {"running", "rolled_back"}
            and len(known) == replicas
            and known == {identity[:12] for identity in there}
        )

    seen, _, _ = await eventually(look, good, HEALS_WITHIN)
    for _ in range(replicas * 2):
        answer = await admin.post(f"/mcp/{started['slug']}/v1/tools/say", json={})
        assert answer.status_code == 200, answer.text
    return seen


async def nothing_is_left(engine: DockerEngine, settings: Settings) -> None:
    """Wait until the engine has nothing of the platform any more."""

    async def left() -> list[object]:
        volumes = engine.client.volumes.list()
        return [*containers_of(engine, settings), *networks_of(engine, settings), *volumes]

    await eventually(left, lambda found: not found)


async def seconds_until(ask: Callable[[], Awaitable[object]]) -> float:
    """Measure how long it takes until the answer is true."""
    begun = time.monotonic()
    await eventually(ask)
    return time.monotonic() - begun
