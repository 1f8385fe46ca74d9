"""Sign-ins that are under way in somebody's browser: for a few minutes, in the cache."""

import hmac
import secrets
from typing import Final
from uuid import UUID

from redis.asyncio import Redis

from mcp_platform.contracts.base import Contract
from mcp_platform.errors import Unavailable
from mcp_platform.security.api_keys import api_key_hash
from storage.cache.connection import AWAY

LASTS: Final = 600
"""Seconds that somebody has to sign in and to agree."""
_PREFIX: Final = "mcp-platform.oauth."


class Flow(Contract):
    """What a browser is on its way to: to let a client in, or the platform into a remote server."""

    purpose: str
    """What the person is told that they sign in for."""
    browser: str = ""
    """A digest of the cookie of the browser that began it: another's cannot go on."""
    csrf: str = ""
    """What the form that comes next has to send."""
    client_id: str = ""
    client_name: str = ""
    client_registered: bool = True
    redirect_uri: str = ""
    state: str | None = None
    challenge: str = ""
    resource: str = ""
    endpoint: str = ""
    scope: str = ""
    user_id: UUID | None = None
    """Who signed in."""
    username: str = ""
    proof: str = ""
    """A digest of what their password was then: with another one they have to sign in again."""
    authorization_id: UUID | None = None
    """An authorization of the platform at a remote server, instead of a client's."""
    expected: UUID | None = None
    """Who alone may go on with that."""
    verifier: str | None = None
    """Sealed: what proves at the remote server that its answer came back to us."""


class Flows:
    """Keeps flows by random ids, of which the cache sees digests alone."""

    def __init__(self, cache: Redis) -> None:
        self._cache = cache

    async def begin(self, flow: Flow) -> str:
        """Keep a flow; its id.

        Raises:
            Unavailable: The cache is away.
        """
        number = secrets.token_urlsafe(32)
        try:
            await self._cache.set(_key(number), flow.model_dump_json(), ex=LASTS)
        except AWAY as error:
            raise Unavailable("The cache cannot be reached", part="cache") from error
        return number

    async def read(self, number: str) -> Flow | None:
        """Find a flow.

        Raises:
            Unavailable: The cache is away.
        """
        try:
            kept = await self._cache.get(_key(number))
        except AWAY as error:
            raise Unavailable("The cache cannot be reached", part="cache") from error
        return Flow.model_validate_json(kept) if kept else None

    async def end(self, number: str) -> Flow | None:
        """Take a flow out: of any number of callers exactly one gets it.

        Raises:
            Unavailable: The cache is away.
        """
        try:
            kept = await self._cache.getdel(_key(number))
        except AWAY as error:
            raise Unavailable("The cache cannot be reached", part="cache") from error
        return Flow.model_validate_json(kept) if kept else None


def belongs(flow: Flow, cookie: str | None, csrf: str) -> bool:
    """Tell whether a form comes from the page that this flow's browser was shown."""
    same_browser = hmac.compare_digest(api_key_hash(cookie or ""), flow.browser)
    return same_browser and hmac.compare_digest(csrf.encode(), flow.csrf.encode())


def new_word() -> str:
    """Make a word that nobody guesses."""
    return secrets.token_urlsafe(32)


def _key(number: str) -> str:
    return f"{_PREFIX}{api_key_hash(number)}"
