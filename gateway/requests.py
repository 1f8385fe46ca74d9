"""What travels through the gateway: a client's request, and who may be asked something on the way."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from mcp_platform.contracts.access import Principal
from mcp_platform.contracts.calls import Outcome, Via
from mcp_platform.wire import Era, RpcError

Message = dict[str, Any]
"""One JSON-RPC message."""


class ClientChannel(Protocol):
    """The client, as a server may reach it.

    Of a request: its own stream, until it is answered. Of a session: its standalone stream.
    """

    @property
    def capabilities(self) -> Mapping[str, Any]:
        """What the client declared: `sampling`, `elicitation`, `roots` and whatever else."""
        ...

    @property
    def client_info(self) -> Mapping[str, Any]:
        """Its name and version, as it says."""
        ...

    async def notify(self, message: Message) -> None:
        """Send a notification; one that nobody hears is dropped."""
        ...

    async def ask(self, method: str, params: dict[str, Any] | None, timeout: float) -> dict[str, Any]:
        """Ask the client, and give its result.

        Raises:
            RpcError: The client's own error, or it cannot be asked, or did not answer in time.
        """
        ...


@dataclass(slots=True)
class ClientSession:
    """A session of a client of the older protocol, as it is kept in the cache.

    Any gateway process may serve any of its requests, so all that must outlive one is here.
    """

    id: str
    user_id: UUID | None
    """None where the endpoint is public."""
    endpoint: str
    """The slug, `group/{name}` or `smart`."""
    version: str
    capabilities: dict[str, Any]
    client_info: dict[str, Any]
    channel: ClientChannel | None = field(default=None, compare=False, repr=False)
    """The standalone stream; None while this process holds none."""
    replicas: dict[str, UUID] = field(default_factory=dict)
    """By slug: the replica that holds the session's state there, where it holds any."""
    upstream_sessions: dict[UUID, str] = field(default_factory=dict)
    """By replica: the id of the session that was opened there for this one alone."""
    log_level: str | None = None
    subscriptions: set[str] = field(default_factory=set)
    """URIs of resources."""
    changed: bool = field(default=False, compare=False, repr=False)
    """Set by whoever changes a field: it is written to the cache before the request is answered."""


@dataclass(slots=True)
class ClientRequest:
    """A request of an MCP client, as it came."""

    principal: Principal | None
    """None: the MCP is public, and the caller sent no credential."""
    endpoint: str
    """The slug, `group/{name}` or `smart`."""
    method: str
    params: dict[str, Any] | None
    era: Era
    headers: Mapping[str, str]
    channel: ClientChannel
    session: ClientSession | None = None
    """None of clients of the modern protocol."""


@dataclass(slots=True)
class RelayedRequest:
    """A request on its way to some upstream of a slug."""

    slug: str
    method: str
    params: dict[str, Any] | None
    era: Era
    timeout: float
    principal: Principal | None = None
    """None: the caller has no credential, or is the platform itself."""
    channel: ClientChannel | None = None
    """None of callers that cannot be told or asked anything, as by plain REST."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """`Mcp-Param-*` headers, which the upstream compares with the body."""
    client_headers: Mapping[str, str] | None = None
    """All that the client sent, by name in lower case, for choosing a replica; none goes to an upstream."""
    session: ClientSession | None = None
    replica_id: UUID | None = None
    """Filled in on the way: the replica that was asked last."""
    via: Via = Via.MCP
    """By which door it came, for the journal."""
    request_id: str = ""
    """What the journal calls it; the id of the HTTP request unless told."""
    outcome: Outcome = Outcome.DENIED
    """Filled in on the way: how a call of a tool ended. Until a server is asked, the gateway refuses it."""
    error_code: str | None = None
    """Filled in on the way, for the journal: what kept a call of a tool from a good result."""

    @property
    def tool(self) -> str | None:
        """The tool that it calls; None of all other methods."""
        if self.method != "tools/call":
            return None
        return str((self.params or {}).get("name"))


class Refused(RpcError):
    """An error that has an HTTP status and headers of its own, where the answer is no stream yet."""

    def __init__(self, error: RpcError, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(error.code, error.message, error.data)
        self.status = status
        self.headers = headers


Send = Callable[[RelayedRequest], Awaitable[dict[str, Any]]]
