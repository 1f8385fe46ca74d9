"""Building images with a Docker engine's classic builder."""

import asyncio
import json
import tarfile
import tempfile
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import IO, Any, Final

import structlog
from aiohttp import ClientResponse
from docker import DockerClient
from docker.errors import APIError, ImageNotFound

from activities.build_failures import BuildOutput
from activities.build_plans import PART_LABEL, RUNNER_PART, STAGE_LABEL
from activities.building import BuildFailed, BuildTranscript, ImagePlan, Step
from activities.clients.containers.images import Images
from activities.clients.docker_engine import DockerEngine
from activities.drivers import DriverUnavailable, ReplicaFault
from activities.finishing import to_its_end
from mcp_platform.contracts.resources import cpu_cores, memory_bytes
from mcp_platform.names import INSTANCE_LABEL

logger = structlog.get_logger(__name__)

_STALE_STAGES: Final = timedelta(days=7)
"""How long what builds made on their way is kept, so that the next build finds it in the cache."""
_STALE_RUNNERS: Final = timedelta(days=30)
"""The same for images with the runner alone, on which others stand."""
_MODIFIED: Final = 400_000_000
"""When all files of a context were changed: some day that zip files can tell too."""
_END_OF_STEP: Final = 10.0
"""Seconds within which the engine ends the container of a build whose connection is gone."""
_LONGEST_EVENT: Final = 1_048_576
_CPU_PERIOD: Final = 100_000
"""Microseconds in which a step may use so much CPU."""


class DockerImageBuilder:
    """Builds images on one engine. A build lives as long as the connection that reads what it writes.

    Args:
        engine: The engine.
        instance: Which platform this is: the label of what it builds.
    """

    def __init__(self, engine: DockerEngine, instance: str) -> None:
        self._engine = engine
        self._images = Images(engine)
        self._instance = instance

    async def close(self) -> None:
        """Close the connections to the engine."""
        await self._engine.close()

    async def image_id(self, name: str) -> str | None:
        """Give the id of an image that the engine has."""
        return await self._engine.call(lambda client: _image_id(client, name))

    async def ensure_pulled(self, name: str) -> str:
        """Give the id of an image; the engine gets it where it does not have it.

        Raises:
            BuildFailed: It cannot be had.
        """
        try:
            await self._images.ensure(name)
        except DriverUnavailable:
            raise
        except ReplicaFault as fault:
            raise BuildFailed(str(fault)) from None
        found = await self.image_id(name)
        if found is None:
            raise BuildFailed(f"the image {name} was removed from the engine meanwhile")
        return found

    async def build(self, plan: ImagePlan, transcript: BuildTranscript, began: Callable[[Step], None]) -> str:
        """Build an image and give its id; a build that is cancelled, or fails, leaves nothing.

        Raises:
            BuildFailed: A step failed; the message says which, and shows its output.
        """
        output = BuildOutput(transcript, began)
        try:
            with tempfile.TemporaryFile() as context:
                await asyncio.to_thread(_write_context, plan, context)
                await self._build(plan, context, output)
        except (BuildFailed, asyncio.CancelledError):
            await to_its_end(self._discard(plan))
            raise
        found = await self.image_id(plan.tag)
        if found is None or not output.finished:
            raise BuildFailed(output.failure("the engine ended the build without a result"))
        return found

    async def _build(self, plan: ImagePlan, context: IO[bytes], output: BuildOutput) -> None:
        arguments = json.dumps(dict(plan.arguments))
        query = {"t": plan.tag, "buildargs": arguments, "rm": "1", "forcerm": "1"} | self._limits()
        headers = {"Content-Type": "application/x-tar"}
        try:
            async with (
                self._engine.stream("/build", query, method="POST", headers=headers, data=context) as answer,
                aclosing(_events(answer)) as events,
            ):
                async for event in events:
                    output.take(event)
        except DriverUnavailable:
            raise
        except (ReplicaFault, LookupError) as refused:
            raise BuildFailed(output.failure(str(refused))) from None

    def _limits(self) -> dict[str, str]:
        """Say what a step may use: it runs code that the platform does not know."""
        own = self._engine.settings
        memory = str(memory_bytes(own.build_memory))
        quota = str(round(cpu_cores(own.build_cpu) * _CPU_PERIOD))
        return {"memory": memory, "memswap": memory, "cpuperiod": str(_CPU_PERIOD), "cpuquota": quota}

    async def _discard(self, plan: ImagePlan) -> None:
        """Remove what the build made on its way, once the engine has ended its last step."""
        labels = [f"{name}={value}" for name, value in plan.labels.items()]
        ends = time.monotonic() + _END_OF_STEP
        try:
            # Not only stopped but gone: what a container was made of cannot be removed before it.
            while await self._engine.call(lambda client: _steps(client, labels)):
                if time.monotonic() > ends:
                    break
                await asyncio.sleep(0.05)
            await self._engine.call(lambda client: _prune(client, {"label": labels}))
        except ReplicaFault as error:
            # The daily sweep finds it.
            logger.warning("build_not_cleared_away", tag=plan.tag, error=str(error))

    async def remove_unused(self, used: set[str], grace: timedelta) -> list[str]:
        """Remove what this platform built, is older and nobody uses; give the tags that went."""
        return await self._engine.call(lambda client: self._remove_unused(client, used, grace))

    def _remove_unused(self, client: DockerClient, used: set[str], grace: timedelta) -> list[str]:
        now = datetime.now(UTC)
        before, long_before = (now - grace).timestamp(), (now - _STALE_RUNNERS).timestamp()
        own = f"{INSTANCE_LABEL}={self._instance}"
        removed: list[str] = []
        for image in client.api.images(filters={"label": [own, PART_LABEL], "dangling": False}):
            base = image["Labels"].get(PART_LABEL) == RUNNER_PART
            if image["Id"] in used or image["Created"] > (long_before if base else before):
                continue
            for tag in image["RepoTags"] or ():
                # A container may still run it; then its day comes later.
                with suppress(APIError):
                    client.api.remove_image(tag)
                    removed.append(tag)
        _prune(client, {"label": [own], "until": f"{int(_STALE_STAGES.total_seconds())}s"})
        self._end_lost_steps(client, own)
        return removed

    def _end_lost_steps(self, client: DockerClient, own: str) -> None:
        """Remove the containers of builds that ended with their engine."""
        before = time.time() - self._engine.settings.build_timeout
        for container in _steps(client, [own]):
            if container["Created"] < before:
                with suppress(APIError):
                    client.api.remove_container(container["Id"], force=True, v=True)


def _image_id(client: DockerClient, name: str) -> str | None:
    try:
        return str(client.images.get(name).id)
    except ImageNotFound:
        return None


def _steps(client: DockerClient, labels: list[str]) -> list[dict[str, Any]]:
    """List the containers of builds: each has the labels of what it is to become."""
    wanted = [*labels, f"{STAGE_LABEL}=build"]
    return list(client.api.containers(all=True, filters={"label": wanted}))


def _prune(client: DockerClient, filters: dict[str, Any]) -> None:
    """Remove what was made on the way to an image and is none."""
    client.images.prune({"dangling": True, **filters})


async def _events(response: ClientResponse) -> AsyncGenerator[dict[str, Any]]:
    """Give what the engine tells; an event that is too long to be one of its own is left out."""
    waiting = bytearray()
    async for chunk in response.content.iter_any():
        waiting += chunk
        *lines, rest = waiting.split(b"\n")
        for line in lines:
            if line.strip() and len(line) <= _LONGEST_EVENT:
                yield json.loads(line)
        waiting = rest if len(rest) <= _LONGEST_EVENT else bytearray(_LONGEST_EVENT + 1)


def _write_context(plan: ImagePlan, target: IO[bytes]) -> None:
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, body in {"Dockerfile": plan.dockerfile.encode(), **plan.files}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            archive.addfile(_plain(entry), BytesIO(body))
        for name, folder in plan.folders.items():
            archive.add(folder, name, filter=_plain)
    target.seek(0)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Make an entry the same on every machine: its owner, its age and who may read it."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = _MODIFIED
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
    return entry
