"""What both older transports have in common: a session at a server, and whom it was opened for."""

from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from gateway.requests import ClientChannel, ClientSession, Message
from mcp_platform.errors import UpstreamFailed
from mcp_platform.wire import INVALID_PARAMS, RpcError, ServerDescription

STATEFUL: Final = frozenset({"logging/setLevel", "resources/subscribe", "resources/unsubscribe"})
"""Methods that change what one client hears later."""

Spawn = Callable[[Coroutine[Any, Any, None]], None]
"""Runs something small in the gateway's task group."""


@dataclass
class Profile:
    """Whom a session at a server is opened for: one client's session, or all clients that are alike."""

    client_info: Mapping[str, Any]
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with each of its requests; there may be a credential among them."""
    level: str | None = None
    client: ClientSession | None = None
    """The client's session that has it for itself."""

    @property
    def log_level(self) -> str | None:
        """The level that the server is told whenever the session is opened."""
        return self.client.log_level if self.client is not None else self.level

    @property
    def subscriptions(self) -> Collection[str]:
        """The resources that are subscribed to whenever it is opened."""
        return sorted(self.client.subscriptions) if self.client is not None else ()

    @property
    def channel(self) -> ClientChannel | None:
        """The client's standalone stream."""
        return self.client.channel if self.client is not None else None


class ServerSession(Protocol):
    """An open session at a server of the older protocol."""

    description: ServerDescription
    profile: Profile

    @property
    def alive(self) -> bool:
        """Whether requests may be sent; a session of which that is not so is opened anew."""
        ...

    @property
    def busy(self) -> bool:
        """Whether anything is in flight."""
        ...

    async def request(
        self,
        method: str,
        params: dict[str, Any] | None,
        timeout: float,
        channel: ClientChannel | None,
        headers: Mapping[str, str],
    ) -> dict[str, Any]:
        """Give the result of one request."""
        ...

    async def hear(self, channel: ClientChannel, on_open: Callable[[], None] = lambda: None) -> None:
        """Forward what the server says outside of calls, until its stream ends.

        Args:
            channel: Where to.
            on_open: Told once the stream is open.

        Raises:
            NotOffered: The server has no such stream.
        """
        ...

    async def hear_for_callers(self) -> None:
        """Forward what the server says outside of the calls' own streams to whoever calls.

        Raises:
            NotOffered: There is nothing of that kind.
        """
        ...

    async def tell(self, message: Message) -> None:
        """Send a notification, if the session is open; one that is lost does no harm."""
        ...

    async def close(self) -> None:
        """End it at the server, too."""
        ...

    async def release(self) -> None:
        """Give back what is held here; another process, or a later request, may go on with it."""
        ...


class SessionRefused(UpstreamFailed):
    """The server opens no session any more: perhaps it is another one than before."""


class NotOffered(Exception):
    """The server does not offer this."""


def note_state(session: ClientSession, method: str, params: dict[str, Any] | None) -> None:
    """Remember what a client told its server, for the day on which the server must be told again.

    Raises:
        RpcError: It told it nothing.
    """
    if method not in STATEFUL:
        return
    name = "level" if method == "logging/setLevel" else "uri"
    value = (params or {}).get(name)
    if not isinstance(value, str):
        raise RpcError(INVALID_PARAMS, f"params.{name} must be a string")
    if method == "logging/setLevel":
        session.log_level = value
    elif method == "resources/subscribe":
        session.subscriptions.add(value)
    else:
        session.subscriptions.discard(value)
    session.changed = True
