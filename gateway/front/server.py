"""One HTTP request of an MCP client: which era it belongs to, and what it asks for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import orjson
from redis.asyncio import Redis

from gateway.bodies import read_body
from gateway.front.answers import refuse
from gateway.front.incoming import Incoming
from gateway.front.legacy import SESSION_HEADER, LegacyFront, Listen, TellServers
from gateway.front.modern import ModernFront
from gateway.front.rounds import AnswerRequest
from gateway.front.sessions import Sessions
from mcp_platform.errors import MethodNotAllowed
from mcp_platform.names import Channel
from mcp_platform.wire import HANDSHAKE_VERSIONS, MODERN_VERSION, VERSION_KEY
from storage.cache import listen as listen_to
from storage.cache import publish

_METHODS: Final = "GET, POST, DELETE"
_VERSION_MARK: Final = VERSION_KEY.encode()


class Front:
    """Serves MCP clients of both eras, for all endpoints: which one it is, is part of each request."""

    def __init__(
        self, answer: AnswerRequest, sessions: Sessions, listen: Listen, tell: TellServers, cache: Redis
    ) -> None:
        self.sessions = sessions
        self._cache = cache
        self._modern = ModernFront(answer, partial(publish, cache))
        self._legacy = LegacyFront(answer, sessions, listen, tell)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve while the body runs."""
        tasks = [asyncio.ensure_future(self._hear()), asyncio.ensure_future(self.sessions.tidy_forever())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._modern.rounds.close()
            await self.sessions.close()

    def end_streams(self) -> None:
        """End the streams that last, in order, before the server stops."""
        self.sessions.end_streams()
        self._modern.end_streams()

    async def serve(self, incoming: Incoming, limit: int) -> None:
        """Serve one request.

        Raises:
            PayloadTooLarge: The body is larger than this many bytes.
            MethodNotAllowed: It is none of those that MCP uses.
        """
        method = incoming.scope["method"]
        if method == "POST":
            await self._post(incoming, await read_body(incoming.receive, limit))
        elif method not in ("GET", "DELETE"):
            raise MethodNotAllowed(_METHODS)
        elif is_modern(incoming):
            raise MethodNotAllowed("POST")
        elif await _speaks(incoming):
            await (self._legacy.get(incoming) if method == "GET" else self._legacy.delete(incoming))

    async def _post(self, incoming: Incoming, body: bytes) -> None:
        if not incoming.acceptable:
            await refuse(incoming.send, 406, "Accept must name application/json or text/event-stream")
        elif incoming.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            await refuse(incoming.send, 415, "Content-Type must be application/json")
        elif is_modern(incoming) or _envelope_without_header(incoming, body):
            await self._modern.serve(incoming, body)
        elif await _speaks(incoming):
            await self._legacy.post(incoming, body)

    async def _hear(self) -> None:
        async for message in listen_to(self._cache, Channel.SESSIONS):
            if {"round", "reply"} & message.data.keys():
                await self._modern.rounds.hear(message.data)
            else:
                await self.sessions.hear(message)


def is_modern(incoming: Incoming) -> bool:
    """Tell whether the request names a version that is none of the older ones, known or not."""
    version = incoming.headers.get("mcp-protocol-version")
    return (
        version is not None and version not in HANDSHAKE_VERSIONS and SESSION_HEADER not in incoming.headers
    )


def lasts(incoming: Incoming) -> bool:
    """Tell whether the answer may be a stream that outlives its credential."""
    return incoming.scope["method"] == "GET" or incoming.headers.get("mcp-method") == "subscriptions/listen"


def _envelope_without_header(incoming: Incoming, body: bytes) -> bool:
    """Tell whether a modern request lacks its header: it is told so, and not that it has no session."""
    if "mcp-protocol-version" in incoming.headers or SESSION_HEADER in incoming.headers:
        return False
    if _VERSION_MARK not in body:
        return False
    try:
        message = orjson.loads(body)
        return VERSION_KEY in message["params"]["_meta"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return False


async def _speaks(incoming: Incoming) -> bool:
    version = incoming.headers.get("mcp-protocol-version")
    if version is None or version in HANDSHAKE_VERSIONS:
        return True
    known = ", ".join((*HANDSHAKE_VERSIONS, MODERN_VERSION))
    text = f"Bad Request: Unsupported protocol version: {version}. Supported versions: {known}"
    await refuse(incoming.send, 400, text)
    return False
