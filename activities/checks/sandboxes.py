"""What may run a server that is tried."""

from collections.abc import Mapping
from dataclasses import dataclass

from activities.drivers import DriverUnavailable, ReplicaDriver
from mcp_platform.build_sources import build_source
from mcp_platform.contracts.checks import TrialOrder
from mcp_platform.contracts.deployments import Driver
from mcp_platform.contracts.mcps import ServerConfig


class NotTried(Exception):
    """Why a server is not tried here.

    Args:
        reason: In words.
        needs_image: Whether it can be once its image is built.
    """

    def __init__(self, reason: str, *, needs_image: bool = False) -> None:
        super().__init__(reason)
        self.needs_image = needs_image


@dataclass(frozen=True)
class Sandbox:
    """What runs a server that is tried."""

    kind: Driver
    driver: ReplicaDriver


class Sandboxes:
    """Finds what may run a server: a process where who wrote it may run commands, else a container."""

    def __init__(self, drivers: Mapping[Driver, ReplicaDriver]) -> None:
        self._drivers = drivers

    async def of(self, order: TrialOrder, server: ServerConfig) -> Sandbox:
        """Give what runs it.

        Raises:
            NotTried: Nothing may, or not yet.
        """
        process = self._drivers.get(Driver.PROCESS)
        if server.command is not None and process is not None and (order.may_run_commands or order.trusted):
            return Sandbox(Driver.PROCESS, process)
        docker = self._drivers.get(Driver.DOCKER)
        trouble = await _trouble(docker)
        if docker is None or trouble is not None:
            raise NotTried(f"{_why_no_process(server, process)}{trouble}")
        if server.command is not None and order.image is None:
            try:
                build_source(server)
            except ValueError as unknown:
                raise NotTried(f"its image cannot be built: {unknown}") from None
            raise NotTried("its image is not built", needs_image=True)
        return Sandbox(Driver.DOCKER, docker)


async def _trouble(docker: ReplicaDriver | None) -> str | None:
    if docker is None:
        return "the docker driver is off"
    try:
        await docker.check()
    except DriverUnavailable as away:
        return f"no container can be started: {away}"
    return None


def _why_no_process(server: ServerConfig, process: ReplicaDriver | None) -> str:
    if server.command is None:
        return ""
    if process is None:
        return "the process driver is off, and "
    return "running a command as the platform's own user needs deployments:process of who wrote it, and "
