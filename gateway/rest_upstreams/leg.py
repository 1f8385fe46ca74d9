"""The way to a plain HTTP API, as the gateway's upstreams have ways to servers."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from gateway.requests import ClientChannel, ClientSession, Message
from gateway.rest_upstreams.api import ApiTarget, RestApi
from gateway.upstreams.http import Http, Limits
from gateway.upstreams.sessions import NotOffered
from mcp_platform.wire import Era, translate_result

Read = Callable[[], Awaitable[ApiTarget | None]]


class RestLeg:
    """Asks an API; there is nothing to keep or to lose.

    Where a credential was refused or missing, another may be stored by the time of the next request: the
    configuration is read anew before it.
    """

    def __init__(self, http: Http, target: ApiTarget, limits: Limits, read: Read, *, private: bool) -> None:
        self._make = partial(RestApi, http, limits=limits, private=private)
        self._read = read
        self._api = self._make(target)
        self.description = self._api.description

    @property
    def alive(self) -> bool:
        """Always: whether the API lives is seen when it is asked."""
        return True

    async def request(
        self,
        method: str,
        params: dict[str, Any] | None,
        client: Era,
        timeout: float,
        channel: ClientChannel | None,
        headers: Mapping[str, str],
        session: ClientSession | None,
    ) -> dict[str, Any]:
        """Give the result of one request, in the client's era."""
        if self._api.outdated or self._api.lacks(method, params):
            target = await self._read()
            if target is not None:
                self._api = self._make(target)
        result = await self._api.request(method, params, timeout)
        return translate_result(method, result, Era.MODERN, client)

    async def listen(self, session: ClientSession, channel: ClientChannel) -> None:
        """Refuse: an API says nothing of itself."""
        raise NotOffered("an API says nothing of itself")

    async def hear_changes(self, channel: ClientChannel, on_open: Callable[[], None]) -> None:
        """Refuse: the tools change with the configuration alone."""
        raise NotOffered("an API says nothing of itself")

    async def tell(self, session: ClientSession, message: Message) -> None:
        """Do nothing: there is nobody to tell."""

    async def forget(self, session: ClientSession) -> None:
        """Do nothing: nothing is kept."""

    async def close(self) -> None:
        """Do nothing: nothing is held."""
