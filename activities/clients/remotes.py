"""Remote servers: watched like replicas, but never started or ended by the platform."""

import asyncio
from dataclasses import dataclass, field
from uuid import UUID

from activities.drivers import ReplicaFault, ReplicaSpec
from mcp_platform.variables import Mask


@dataclass(frozen=True)
class RemoteServer:
    """Somebody else's server at a URL."""

    url: str
    shown_url: str
    headers: dict[str, str]
    mask: Mask = field(default_factory=Mask)
    pid: None = None

    @property
    def stderr_tail(self) -> list[str]:
        """Nothing: its standard error is not ours to see."""
        return []

    async def exited(self) -> str:
        """Never returns: only its answers tell whether it lives."""
        await asyncio.Event().wait()
        raise AssertionError


class RemoteDriver:
    """Hands out the address that the configuration names."""

    async def ensure_running(self, spec: ReplicaSpec) -> RemoteServer:
        """Give the server at the configured URL."""
        if spec.server.url is None:
            raise ReplicaFault(f"server {spec.server.name!r} has no url")
        return RemoteServer(spec.server.url, spec.configured_url or "", spec.server.headers, spec.mask)

    async def find(self, spec: ReplicaSpec) -> RemoteServer:
        """Find the same: it is always there, whether it answers or not."""
        return await self.ensure_running(spec)

    async def ensure_absent(self, replica_id: UUID) -> None:
        """Do nothing: the server is not ours."""
