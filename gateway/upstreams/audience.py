"""Whoever hears what a server says without saying to which of its calls it belongs."""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.requests import ClientChannel, Message
from gateway.upstreams.flights import Flights
from gateway.upstreams.sessions import Profile
from mcp_platform.wire import METHOD_NOT_FOUND, RpcError


class Audience:
    """A channel to the callers of a session, and to those who listen to it.

    In a session of one client all calls are that client's, so its newest one is told and asked. Where
    clients share a session, a call is while it is the only one.
    """

    def __init__(self, profile: Profile, flights: Flights, hearers: Sequence[ClientChannel] = ()) -> None:
        self._profile = profile
        self._flights = flights
        self._hearers = hearers

    @property
    def capabilities(self) -> Mapping[str, Any]:
        """What the session was opened with."""
        return self._profile.capabilities

    @property
    def client_info(self) -> Mapping[str, Any]:
        """What the session was opened with."""
        return self._profile.client_info

    async def notify(self, message: Message) -> None:
        """Tell the caller of what is logged, and all who listen of the rest."""
        channel = self._caller()
        if channel is not None and message["method"] == "notifications/message":
            await channel.notify(message)
            return
        for hearer in list(self._hearers):
            await hearer.notify(message)

    async def ask(self, method: str, params: dict[str, Any] | None, timeout: float) -> dict[str, Any]:
        """Ask the caller, or whoever listens."""
        channel = self._caller() or next(iter(self._hearers), None)
        if channel is None:
            raise RpcError(METHOD_NOT_FOUND, f"this client does not offer {method}")
        return await channel.ask(method, params, timeout)

    def _caller(self) -> ClientChannel | None:
        if self._profile.client is None and len(self._flights) != 1:
            return None
        newest = self._flights.newest()
        return newest.channel if newest is not None else None
