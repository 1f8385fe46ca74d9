"""The one interface behind which replicas run, whatever runs them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from mcp_platform.contracts.mcps import ServerConfig
from mcp_platform.variables import Mask


class ReplicaFault(Exception):
    """Why a replica is not healthy, in words for its owner.

    Args:
        reason: What went wrong.
        stderr_tail: The last lines of standard error, where there were any.
    """

    def __init__(self, reason: str, stderr_tail: Sequence[str] = ()) -> None:
        super().__init__(reason)
        self.stderr_tail = list(stderr_tail)


@dataclass(frozen=True)
class ReplicaSpec:
    """What to run. Every `${NAME}` is resolved already, so this holds secrets: never log or store it."""

    replica_id: UUID
    server: ServerConfig
    patience: float
    """Seconds within which it must answer."""
    configured_url: str | None = None
    """A remote server's address as it is configured, with its `${NAME}` in it."""
    mask: Mask = field(default_factory=Mask)
    """Takes the secrets that were put in out of what is stored and shown."""


class RunningReplica(Protocol):
    """A replica that was started and not yet ended."""

    @property
    def url(self) -> str:
        """Its Streamable HTTP address."""
        ...

    @property
    def shown_url(self) -> str:
        """The address as it may be stored and shown: with names in it, not secrets."""
        ...

    @property
    def headers(self) -> dict[str, str]:
        """What a check has to send along."""
        ...

    @property
    def pid(self) -> int | None:
        """Its process, where it has one on this machine."""
        ...

    @property
    def mask(self) -> Mask:
        """What takes the secrets that it was started with out of what it says."""
        ...

    @property
    def stderr_tail(self) -> list[str]:
        """The last lines of standard error, at most 50, as they were written."""
        ...

    async def exited(self) -> str:
        """Wait until it ends by itself, and tell why; for what cannot end, wait for ever."""
        ...


class ReplicaDriver(Protocol):
    """Starts, finds and ends replicas. Each method may be repeated."""

    async def ensure_running(self, spec: ReplicaSpec) -> RunningReplica:
        """Give the replica: the one that runs already, or a new one.

        Raises:
            ReplicaFault: It could not be started.
        """
        ...

    async def find(self, spec: ReplicaSpec) -> RunningReplica | None:
        """Find the replica, if it still runs."""
        ...

    async def ensure_absent(self, replica_id: UUID) -> None:
        """End the replica and all that it started; finding none is success."""
        ...


class Probe(Protocol):
    """Asks a replica whether it speaks MCP."""

    async def check(self, url: str, headers: dict[str, str], timeout: float) -> None:
        """Return once the server has answered and listed its tools.

        Raises:
            ReplicaFault: It did not within `timeout` seconds, or not as an MCP server does.
        """
        ...
