"""What servers say to sessions of older clients outside of calls: changed lists, updates, log messages."""

import asyncio
from contextlib import suppress
from typing import Any, Final

import structlog

from gateway.catalogue import TOOLS_CHANGED
from gateway.groups.endpoint import PREFIX
from gateway.groups.table import GroupTable
from gateway.policy.policy import Policy
from gateway.relay import Relay
from gateway.requests import ClientSession
from gateway.routes import LiveRoute
from gateway.upstreams.exchange import Unreachable
from gateway.upstreams.legs import Spawn
from gateway.upstreams.upstream import Upstream
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.errors import Forbidden, NotFound, PlatformError
from mcp_platform.wire import RpcError

log = structlog.get_logger(__name__)

_PAUSE: Final = 1.0
"""Seconds after which a session is listened for again that could not be, or whose replica went."""


class Listening:
    """Listens to servers for the sessions whose clients hold a standalone stream open."""

    def __init__(self, relay: Relay, policy: Policy, groups: GroupTable, spawn: Spawn) -> None:
        self._relay = relay
        self._policy = policy
        self._groups = groups
        self._spawn = spawn

    async def follow(self, session: ClientSession, changed: asyncio.Event, caller: Principal | None) -> None:
        """Forward what servers say to a session until cancelled.

        Args:
            session: Whose client holds its stream open here.
            changed: Set whenever the session may hear of other things than before.
            caller: Who holds it open; the session may have been used with credentials for other servers.
        """
        while True:
            changed.clear()
            listeners = [
                asyncio.ensure_future(self._listen(session, slug, caller))
                for slug in _slugs(session)
                if self._is_behind(session.endpoint, slug)
            ]
            try:
                await changed.wait()
            finally:
                for listener in listeners:
                    listener.cancel()
                await asyncio.gather(*listeners, return_exceptions=True)

    def end(self, session: ClientSession) -> None:
        """Give back what servers keep for a session that has ended."""
        for upstream in self._keepers(session):
            self._spawn(upstream.forget(session))

    def tell(self, session: ClientSession, message: dict[str, Any]) -> None:
        """Pass a client's notification on to the servers that keep something for its session."""
        for upstream in self._keepers(session):
            self._spawn(upstream.tell(session, message))

    def _keepers(self, session: ClientSession) -> list[Upstream]:
        found: list[Upstream] = []
        for slug in _slugs(session):
            with suppress(NotFound):
                found += [
                    upstream
                    for upstream in self._relay.find(slug).upstreams
                    if upstream.address.replica_id in session.upstream_sessions
                ]
        return found

    def _is_behind(self, endpoint: str, slug: str) -> bool:
        """Tell whether a server is behind an endpoint still: a group may have lost it."""
        if not endpoint.startswith(PREFIX):
            return True
        return endpoint.removeprefix(PREFIX) in self._groups.with_slug(slug)

    async def _listen(self, session: ClientSession, slug: str, caller: Principal | None) -> None:
        last: Upstream | None = None
        while True:
            try:
                live = self._live(slug, caller)
                upstream = _upstream(session, live)
                if (channel := session.channel) is not None:
                    if last not in (None, upstream):
                        # Another replica may be of another version.
                        await channel.notify({"jsonrpc": "2.0", "method": TOOLS_CHANGED})
                    last = upstream
                    await upstream.listen(session, self._policy.lasting(live, channel))
            except (RpcError, Unreachable, PlatformError) as error:
                log.debug("not_listening", slug=slug, reason=str(error))
            await asyncio.sleep(_PAUSE)

    def _live(self, slug: str, caller: Principal | None) -> LiveRoute:
        live = self._relay.find(slug)
        if caller is not None and not caller.may_use(live.route.mcp_id):
            raise Forbidden(Permission.TOOLS_CALL, "This API key is not for this MCP")
        return live


def _upstream(session: ClientSession, live: LiveRoute) -> Upstream:
    """Find the replica that keeps something for the session; any other where none does."""
    for upstream in live.upstreams:
        if upstream.address.replica_id in session.upstream_sessions:
            return upstream
    return live.pick(session.replicas.get(live.route.slug))


def _slugs(session: ClientSession) -> list[str]:
    """Name the servers that may have something to say to a session outside of calls."""
    if session.endpoint == "smart" or "/" in session.endpoint:
        return list(session.replicas)
    return [session.endpoint]
