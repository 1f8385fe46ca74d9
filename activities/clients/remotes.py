"""Remote servers: watched like replicas, but never started or ended by the platform."""

import asyncio
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

from activities.drivers import ReplicaFault, ReplicaSpec, Usage
from mcp_platform.contracts.mcps import ServerConfig
from mcp_platform.variables import Mask


@dataclass(frozen=True)
class RemoteServer:
    """Somebody else's server at a URL."""

    url: str
    shown_url: str
    headers: dict[str, str]
    health_url: str | None = None
    mask: Mask = field(default_factory=Mask)
    pid: None = None
    container: None = None

    @property
    def stderr_tail(self) -> list[str]:
        """Nothing: its standard error is not ours to see."""
        return []

    async def exited(self) -> str:
        """Never returns: only its answers tell whether it lives."""
        await asyncio.Event().wait()
        raise AssertionError

    async def usage(self) -> Usage | None:
        """Nothing: it runs elsewhere."""
        return None

    async def silence(self) -> str | None:
        """Nothing more than its answers tell."""
        return None


class RemoteDriver:
    """Hands out the address that the configuration names."""

    async def check(self) -> None:
        """Return: nothing is started."""

    async def ensure_running(self, spec: ReplicaSpec) -> RemoteServer:
        """Give the server at the configured URL."""
        if spec.server.url is None:
            raise ReplicaFault(f"server {spec.server.name!r} has no url")
        return RemoteServer(
            spec.server.url,
            spec.configured_url or "",
            spec.server.headers,
            _health_url(spec.server),
            spec.mask,
        )

    async def find(self, spec: ReplicaSpec) -> RemoteServer:
        """Find the same: it is always there, whether it answers or not."""
        return await self.ensure_running(spec)

    async def living(self) -> set[UUID]:
        """Nothing: they run elsewhere, whether they answer or not."""
        return set()

    async def ensure_absent(self, replica_id: UUID) -> None:
        """Do nothing: the server is not ours."""

    async def sweep(self, wanted: set[UUID], older_than: float) -> list[UUID]:
        """Find nothing: nothing was started."""
        return []


def _health_url(server: ServerConfig) -> str | None:
    """Give the address that tells whether a plain HTTP API lives."""
    if not server.is_rest or server.url is None:
        return None
    parts = urlsplit(server.url)
    path = parts.path.rstrip("/") + server.health_path if server.health_path else parts.path
    return urlunsplit(parts._replace(path=path, fragment=""))
