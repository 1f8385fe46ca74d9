"""`subscriptions/listen` of 2026-07-28, served by a server of the older protocol."""

from collections.abc import Mapping
from typing import Any

from gateway.requests import ClientChannel, Message
from gateway.upstreams.listening import Muted, persist
from gateway.upstreams.sessions import NotOffered, ServerSession
from mcp_platform.wire import LISTEN_FLAGS, METHOD_NOT_FOUND, RpcError, ServerDescription, list_changes

_TIMEOUT = 30.0


class _Ended(Exception):
    """The session cannot be opened again."""


class Subscription:
    """One client's stream of notifications.

    Frames carry no subscription id: only whoever serves the client knows the id of its request.
    """

    def __init__(self, server: ServerDescription, params: Mapping[str, Any] | None) -> None:
        wanted = (params or {}).get("notifications")
        wanted = wanted if isinstance(wanted, dict) else {}
        self._honored: dict[str, Any] = {
            LISTEN_FLAGS[method]: True
            for method in list_changes(server)
            if wanted.get(LISTEN_FLAGS[method]) is True
        }
        uris = wanted.get("resourceSubscriptions")
        resources = server.capabilities.get("resources")
        offered = isinstance(resources, dict) and resources.get("subscribe") is True
        self._uris = (
            [uri for uri in uris if isinstance(uri, str)] if offered and isinstance(uris, list) else []
        )
        if self._uris:
            self._honored["resourceSubscriptions"] = self._uris

    async def serve(self, session: ServerSession, channel: ClientChannel) -> None:
        """Forward what was asked for, until the client leaves, or the session has ended for good.

        Raises:
            RpcError: The server refuses a subscription, or has no stream of notifications.
        """
        for uri in self._uris:
            await session.request("resources/subscribe", {"uri": uri}, _TIMEOUT, None, {})
        await channel.notify(self._acknowledgement())
        heard = Muted(channel.notify, self._admits)

        async def again() -> None:
            if not session.alive:
                raise _Ended

        try:
            await persist(lambda: session.hear(heard), again)
        except _Ended:
            return  # and the client is told: what it subscribed to went with the session
        except NotOffered:
            raise RpcError(METHOD_NOT_FOUND, "this server has no stream of notifications") from None

    def _acknowledgement(self) -> Message:
        """Make the first frame: which of the wishes are met."""
        return {
            "jsonrpc": "2.0",
            "method": "notifications/subscriptions/acknowledged",
            "params": {"notifications": self._honored},
        }

    def _admits(self, method: str) -> bool:
        if method == "notifications/resources/updated":
            return bool(self._uris)
        return LISTEN_FLAGS.get(method, "") in self._honored
