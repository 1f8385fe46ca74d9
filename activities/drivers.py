"""The one interface behind which replicas run, whatever runs them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from mcp_platform.contracts.deployments import ReplicaOrder
from mcp_platform.contracts.logs import LogLine as LogLine
from mcp_platform.contracts.logs import Stream as Stream
from mcp_platform.contracts.mcps import ServerConfig
from mcp_platform.contracts.resources import Resources
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


class DriverUnavailable(ReplicaFault):
    """What runs the replicas cannot be reached; the message names the address that was tried.

    Nothing is known of the replicas then: they may be well.
    """


class LastingFault(ReplicaFault):
    """It stays so until somebody changes something: waiting for the replica does not help."""


class ReplicaLog(Protocol):
    """Keeps what one replica writes. Whoever hands over lines takes the secrets out of them first."""

    @property
    def last_at(self) -> datetime | None:
        """The time of the newest line that is kept, for a driver that takes up a running replica."""
        ...

    async def write(self, lines: Sequence[LogLine]) -> None:
        """Keep lines, in their order; returns once there is room for more."""
        ...


class LogKeeper(Protocol):
    """Gives each replica its log."""

    def of(self, order: ReplicaOrder) -> ReplicaLog:
        """Give the log of one replica: a new one, or the one that was begun before."""
        ...


class NoLog:
    """Keeps nothing."""

    last_at: datetime | None = None

    async def write(self, lines: Sequence[LogLine]) -> None:
        """Forget them."""


@dataclass(frozen=True)
class Usage:
    """What a replica uses, with all that it started."""

    cpu_seconds: float
    """CPU time since it started."""
    memory_bytes: int


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
    deployment_id: UUID | None = None
    slug: str = ""
    environment: str = "production"
    resources: Resources = field(default_factory=Resources)
    egress: bool = True
    """Whether it may open connections to other machines; for containers."""
    image: str | None = None
    """For a container of a server with a command: the image that was built for it."""
    log: ReplicaLog = field(default_factory=NoLog)


class RunningReplica(Protocol):
    """A replica that was started and not yet ended."""

    @property
    def url(self) -> str:
        """Its Streamable HTTP address."""
        ...

    @property
    def health_url(self) -> str | None:
        """Of a plain HTTP API, which does not speak MCP: what is asked to see whether it lives."""
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
    def container(self) -> str | None:
        """The id of its container or service, where it has one."""
        ...

    @property
    def mask(self) -> Mask:
        """What takes the secrets that it was started with out of what it says."""
        ...

    @property
    def stderr_tail(self) -> list[str]:
        """The last lines that it wrote, at most 50, as they were written."""
        ...

    async def exited(self) -> str:
        """Wait until it ends by itself, and tell why; for what cannot end, wait for ever."""
        ...

    async def usage(self) -> Usage | None:
        """Measure it; None where that is not possible, or it is gone."""
        ...

    async def silence(self) -> str | None:
        """Tell why nothing answers at its address, as far as what runs it can see; else None."""
        ...


class ReplicaDriver(Protocol):
    """Starts, finds and ends replicas. Each method may be repeated, by any worker.

    Each raises `DriverUnavailable` where the engine behind it cannot be reached.
    """

    async def check(self) -> None:
        """Return if replicas can be run now.

        Raises:
            DriverUnavailable: They cannot; the message says why.
        """
        ...

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

    async def living(self) -> set[UUID]:
        """Give the replicas of this platform that run now, whoever started them."""
        ...

    async def sweep(self, wanted: set[UUID], older_than: float) -> list[UUID]:
        """End what this platform once started and no wanted replica owns, and say which replicas it was.

        Args:
            wanted: Replicas that may run.
            older_than: Seconds; what is younger is left alone, as its record may not be read yet.
        """
        ...


class Probe(Protocol):
    """Asks a replica whether it speaks MCP."""

    async def check(self, url: str, headers: dict[str, str], timeout: float, *, remote: bool = False) -> None:
        """Return once the server has answered and listed its tools; a remote one is somebody else's.

        Raises:
            ReplicaFault: It did not within `timeout` seconds, or not as an MCP server does.
            LastingFault: There is no TLS with it that can be trusted.
        """
        ...

    async def check_api(self, url: str, headers: dict[str, str], timeout: float) -> None:
        """Return once somebody else's plain HTTP API has answered with a status below 500.

        Raises:
            ReplicaFault: It did not within `timeout` seconds.
            LastingFault: There is no TLS with it that can be trusted.
        """
        ...


class UsageKeeper(Protocol):
    """Keeps what replicas use, for the API, for charts and for Prometheus."""

    def answered(self, order: ReplicaOrder, running: RunningReplica) -> None:
        """Note that a replica answered just now, and measure now and then what it uses.

        Costs microseconds, waits for nothing and never fails: it is measured aside, and written later
        with that of the others.
        """
        ...
