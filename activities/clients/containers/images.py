"""Getting images: present, or pulled within a bound, and for the right processor."""

import asyncio
import json
from typing import Any, Final
from weakref import WeakValueDictionary

import structlog
from docker import DockerClient, auth
from docker.errors import ImageNotFound, InvalidRepository
from docker.utils import parse_repository_tag

from activities.build_plans import PART_LABEL, STAGE_LABEL
from activities.clients.containers.spec import check_architecture
from activities.clients.docker_engine import DockerEngine
from activities.drivers import DriverUnavailable, ReplicaFault
from mcp_platform.names import INSTANCE_LABEL

logger = structlog.get_logger(__name__)

_NO_PLATFORM: Final = "no matching manifest"
_OWN_LABELS: Final = frozenset({INSTANCE_LABEL, PART_LABEL, STAGE_LABEL})
"""Each marks an image that a platform built."""


class Images:
    """The images of one engine. Each is pulled once, however many replicas ask for it at a time."""

    def __init__(self, engine: DockerEngine) -> None:
        self._engine = engine
        self._pulls: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def ensure(self, name: str) -> dict[str, Any]:
        """Return once the engine has the image, with its configuration.

        Raises:
            ReplicaFault: It cannot be had, or is not for this machine; the message says why.
        """
        # It lives as long as anyone holds it, or waits for it.
        async with self._pulls.setdefault(name, asyncio.Lock()):
            found = await self._look(name)
            if found is None:
                await self._pull(name)
                found = await self._look(name)
            return _configuration(found)

    async def configuration(self, name: str) -> dict[str, Any]:
        """Give the configuration of an image as far as the engine has it: nothing where it has not."""
        return _configuration(await self._inspect(name))

    async def _look(self, name: str) -> dict[str, Any] | None:
        found = await self._inspect(name)
        if found is not None:
            capacity = await self._engine.capacity()
            check_architecture(name, found.get("Architecture"), capacity.architecture)
        return found

    async def _inspect(self, name: str) -> dict[str, Any] | None:
        try:
            return await self._engine.call(lambda client: _found(client, name))
        except ReplicaFault as fault:
            if "invalid reference" in str(fault):
                raise ReplicaFault(f"{name!r} is no name of an image") from None
            raise

    async def _pull(self, name: str) -> None:
        bound = self._engine.settings.pull_timeout
        logger.info("image_pull_begins", image=name)
        try:
            async with asyncio.timeout(bound):
                await self._pulled(name)
        except TimeoutError:
            raise ReplicaFault(f"the image {name} was not there after {bound:g} s of pulling") from None
        except LookupError as error:
            raise ReplicaFault(_words(name, str(error))) from None
        logger.info("image_pulled", image=name)

    async def _pulled(self, name: str) -> None:
        repository, tag = parse_repository_tag(name)
        query = {"fromImage": repository, "tag": tag or "latest"}
        headers = await self._engine.call(lambda _client: _credentials(name))
        try:
            async with self._engine.stream("/images/create", query, method="POST", headers=headers) as answer:
                async for line in answer.content:
                    said = json.loads(line)
                    if "error" in said:
                        raise LookupError(said["error"])
        except DriverUnavailable:
            raise
        except ReplicaFault as fault:
            raise LookupError(str(fault)) from None


def check_foreign(name: str, configuration: dict[str, Any]) -> None:
    """Refuse what a platform built: it holds what its owner showed to nobody else.

    Raises:
        ReplicaFault: It is one of those.
    """
    if _OWN_LABELS & (configuration.get("Labels") or {}).keys():
        raise ReplicaFault(
            f"the image {name} was built by this platform for another server; deploy that MCP instead"
        )


def volumes_of(configuration: dict[str, Any]) -> list[str]:
    """Give the folders that an image wants to write to."""
    return sorted(configuration.get("Volumes") or {})


def _configuration(found: dict[str, Any] | None) -> dict[str, Any]:
    return (found or {}).get("Config") or {}


def _found(client: DockerClient, name: str) -> dict[str, Any] | None:
    """Describe an image; None where there is no such."""
    try:
        found: dict[str, Any] = client.api.inspect_image(name)
    except ImageNotFound:
        return None
    return found


def _credentials(name: str) -> dict[str, str]:
    """Give what this user's `docker login` left for the image's registry."""
    try:
        registry, _ = auth.resolve_repository_name(name)
    except InvalidRepository:
        raise ReplicaFault(f"{name!r} is no name of an image") from None
    found = auth.resolve_authconfig(auth.load_config(), registry)
    return {"X-Registry-Auth": auth.encode_header(found).decode()} if found else {}


def _words(name: str, said: str) -> str:
    """Tell why an image cannot be had, in words for who asked for it."""
    lower = said.lower()
    if _NO_PLATFORM in lower:
        return f"the image {name} is not made for the engine's machine: {said}"
    if "denied" in lower or "unauthorized" in lower:
        return (
            f"the image {name} cannot be pulled: there is none, or the engine has no right to it"
            f" (an operator can `docker login` as the worker's user): {said}"
        )
    if "not found" in lower or "unknown" in lower or "no such image" in lower:
        return f"there is no image {name}: {said}"
    return f"the image {name} cannot be pulled: {said}"
