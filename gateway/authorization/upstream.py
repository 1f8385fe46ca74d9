"""A remote server that is authorized for: each credential has connections and sessions of its own there."""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from gateway.authorization.tokens import HeldTokens, with_token
from gateway.requests import ClientChannel, ClientSession
from gateway.upstreams.exchange import CredentialsRefused, Limits, Unreachable
from gateway.upstreams.http import Http
from gateway.upstreams.sessions import Spawn
from gateway.upstreams.upstream import Target, Upstream
from mcp_platform.contracts.deployments import Route, UpstreamAddress
from mcp_platform.errors import AuthorizationNeeded
from mcp_platform.wire import INTERNAL_ERROR, Era, RpcError, ServerDescription

_MOST_OWN: Final = 256
_UNUSED: Final = 600.0
"""Seconds after which the way of a credential that is not used any more is closed."""
_RETIRING: Final = 60.0
"""Seconds that requests have to end on a way whose credential was replaced."""

MakeTarget = Callable[[], Awaitable[Target]]


class AuthorizedUpstream(Upstream):
    """Sends the token for all callers, or, with a request that brings its user's own, that one.

    What belongs to one credential is never used with another: requests with a user's token go through
    an upstream of their own, and a token that replaces another one opens a new way.
    """

    def __init__(
        self,
        held: HeldTokens,
        route: Route,
        address: UpstreamAddress,
        http: Http,
        target: MakeTarget,
        limits: Limits,
        spawn: Spawn,
        *,
        private: bool = True,
    ) -> None:
        super().__init__(address, http, self._for_all(target), limits, spawn, private=private)
        self._held = held
        self._route = route
        self._plain = target
        self._sent: str | None = None
        """The token with which the present way was opened."""
        self._own: OrderedDict[str, tuple[Upstream, float]] = OrderedDict()
        """Upstreams by token, and when each was used last."""

    async def describe(self, timeout: float, headers: Mapping[str, str] | None = None) -> ServerDescription:
        """Ask what the server says of itself, with the user's token if the headers bring one."""
        token = (headers or {}).get("Authorization")
        try:
            if token is not None:
                return await self._of(token).describe(timeout)
            await self._renew()
            return await super().describe(timeout)
        except CredentialsRefused as refused:
            raise self._told(refused, token) from None

    async def request(
        self,
        method: str,
        params: dict[str, Any] | None,
        client: Era,
        timeout: float,
        *,
        channel: ClientChannel | None = None,
        headers: Mapping[str, str] | None = None,
        session: ClientSession | None = None,
    ) -> dict[str, Any]:
        """Give the result of one request, sent with the token that it brings or with that for all."""
        token = (headers or {}).get("Authorization")
        try:
            if token is None:
                await self._renew()
                return await super().request(
                    method, params, client, timeout, channel=channel, headers=headers, session=session
                )
            kept = {name: value for name, value in (headers or {}).items() if name != "Authorization"}
            return await self._of(token).request(
                method, params, client, timeout, channel=channel, headers=kept, session=session
            )
        except CredentialsRefused as refused:
            raise self._told(refused, token) from None

    async def listen(self, session: ClientSession, channel: ClientChannel | None = None) -> None:
        """Forward what the server says outside of calls to the session's user."""
        address = self.address
        token = None
        if session.user_id is not None:
            token = self._held.of(self._route.mcp_id, address.server, session.user_id)
        if token is None:
            await super().listen(session, channel)
        else:
            await self._of(token).listen(session, channel)

    async def forget(self, session: ClientSession) -> None:
        """End what the server keeps for this session alone, by the credential that opened it."""
        token = self._held.of(self._route.mcp_id, self.address.server, session.user_id)
        if session.user_id is None or token is None:
            await super().forget(session)
        elif not self._closed:
            await self._of(token).forget(session)

    async def until_idle(self, timeout: float) -> None:
        """Return once no request is in flight, or after this time."""
        deadline = time.monotonic() + timeout
        for upstream, _ in list(self._own.values()):
            await upstream.until_idle(max(deadline - time.monotonic(), 0.001))
        await super().until_idle(max(deadline - time.monotonic(), 0.001))

    async def close(self) -> None:
        """Give back what is held, for every credential."""
        self._closed = True
        own = [upstream for upstream, _ in self._own.values()]
        self._own.clear()
        for upstream in own:
            await upstream.close()
        await super().close()

    def _for_all(self, target: MakeTarget) -> MakeTarget:
        async def shared() -> Target:
            found = await target()
            self._sent = self._held.of(self._route.mcp_id, self.address.server, None)
            if self._sent is None:
                return found
            return replace(found, headers=with_token(found.headers, self._sent))

        return shared

    async def _renew(self) -> None:
        """Have the next request open a new way, if the token for all is another one now, or gone."""
        if self._leg is None:
            return
        token = self._held.of(self._route.mcp_id, self.address.server, None)
        if token == self._sent:
            return
        self._sent = token
        old, self._leg = self._leg, None

        async def retire() -> None:
            await self.until_idle(_RETIRING)
            await old.close()

        self._spawn(retire())

    def _of(self, token: str) -> Upstream:
        """Give the upstream of a user's token."""
        if self._closed:
            raise Unreachable("it is not in use any more")
        now = time.monotonic()
        known = self._own.get(token)
        if known is None:
            self._make_room(now)

            async def target() -> Target:
                found = await self._plain()
                return replace(found, headers=with_token(found.headers, token))

            known = (
                Upstream(self.address, self._http, target, self._limits, self._spawn, private=self._private),
                now,
            )
        self._own[token] = (known[0], now)
        self._own.move_to_end(token)
        return known[0]

    def _make_room(self, now: float) -> None:
        for token, (upstream, used) in list(self._own.items()):
            unused = now - used > _UNUSED
            if upstream.active or not (unused or len(self._own) >= _MOST_OWN):
                continue
            del self._own[token]
            self._spawn(upstream.close())

    def _told(self, refused: CredentialsRefused, token: str | None) -> Exception:
        """Say what is missing, where an authorization is: to the caller it is no failure of the server."""
        asked = "resource_metadata" in (refused.challenge or "")
        if refused.http_status != 401 or not (asked or token is not None or self._sent is not None):
            return refused
        needed = AuthorizationNeeded(self._route.mcp_id, self._route.slug, self.address.server)
        return RpcError(INTERNAL_ERROR, str(needed), {"error_code": needed.code, **needed.fields})
