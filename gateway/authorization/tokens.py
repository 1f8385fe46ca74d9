"""The platform's own tokens for remote servers: in memory, kept fresh by pub/sub."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import structlog
from redis.asyncio import Redis

from mcp_platform.contracts.access import Principal
from mcp_platform.contracts.deployments import Route
from mcp_platform.contracts.oauth import SealedAuthorization, UpstreamTokens, upstream_purpose
from mcp_platform.names import Channel
from mcp_platform.security.sealing import CannotUnseal, Sealer
from storage.cache import Message, listen
from storage.sql.engine import Database
from storage.sql.oauth_upstream import UpstreamAuthorizationRepository

log = structlog.get_logger(__name__)

_Server = tuple[UUID, str]
"""An MCP, and the name of one of its servers."""


@dataclass(frozen=True)
class _Held:
    header: str = field(repr=False)
    """The value of `Authorization`."""
    until: float
    """On the monotonic clock."""


class HeldTokens:
    """Tokens by server, and by whose they are; None stands for all callers.

    Readings follow one another under a lock, so an older one never replaces a newer one.
    """

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer
        self._held: dict[_Server, dict[UUID | None, _Held]] = {}
        self._reading = asyncio.Lock()
        self.personal: frozenset[UUID] = frozenset()
        """The MCPs for which some user has a token of their own."""

    def of(self, mcp_id: UUID, server: str | None, user_id: UUID | None) -> str | None:
        """Give what a request is sent as `Authorization`: of this user alone, or, without one, of all."""
        held = self._held.get((mcp_id, server or ""), {}).get(user_id)
        return held.header if held is not None and held.until > time.monotonic() else None

    def headers_for(
        self, route: Route, caller: Principal | None, headers: Mapping[str, str]
    ) -> Mapping[str, str]:
        """Give a request's headers, with the caller's own token for the route's server if there is one."""
        if caller is None or route.mcp_id not in self.personal or not route.upstreams:
            return headers
        token = self.of(route.mcp_id, route.upstreams[0].server, caller.user_id)
        return headers if token is None else with_token(headers, token)

    async def refresh(self, mcp_id: UUID | None = None) -> None:
        """Read one MCP's tokens anew, or all."""
        async with self._reading:
            async with self._database.read() as session:
                found = await UpstreamAuthorizationRepository(session).active(mcp_id)
            self._put(found, mcp_id)

    async def follow(self, cache: Redis) -> None:
        """Read anew whatever a message names; runs until cancelled."""
        async for message in listen(cache, Channel.AUTHORIZATIONS):
            await self._refresh_or_log(_which(message))

    async def refresh_forever(self, interval: float) -> None:
        """Read all tokens at every interval, in case a message was lost; runs until cancelled."""
        while True:
            await asyncio.sleep(interval)
            await self._refresh_or_log(None)

    async def _refresh_or_log(self, mcp_id: UUID | None) -> None:
        try:
            await self.refresh(mcp_id)
        except Exception:
            # The tokens that we have are better than none, and we ask again.
            log.exception("upstream_tokens_not_read")

    def _put(self, found: list[SealedAuthorization], mcp_id: UUID | None) -> None:
        fresh: dict[_Server, dict[UUID | None, _Held]] = {}
        for kept in sorted(found, key=lambda each: each.authorization.created_at):
            held = self._open(kept)
            if held is not None:
                own = kept.authorization
                fresh.setdefault((own.mcp_id, own.server), {})[own.user_id] = held
        if mcp_id is not None:
            fresh |= {key: held for key, held in self._held.items() if key[0] != mcp_id}
        self._held = fresh
        self.personal = frozenset(
            key[0] for key, held in fresh.items() if any(user_id is not None for user_id in held)
        )

    def _open(self, kept: SealedAuthorization) -> _Held | None:
        own = kept.authorization
        if kept.sealed_tokens is None:
            return None
        try:
            text = self._sealer.unseal(kept.sealed_tokens, upstream_purpose(own.id, "tokens"))
        except CannotUnseal as error:
            log.error("upstream_token_not_opened", authorization=str(own.id), error=str(error))
            return None
        tokens = UpstreamTokens.model_validate_json(text)
        left = (own.expires_at - datetime.now(UTC)).total_seconds() if own.expires_at else float("inf")
        return _Held(f"Bearer {tokens.access_token}", time.monotonic() + left)


def with_token(headers: Mapping[str, str], token: str) -> dict[str, str]:
    """Give the headers of a request with this token, instead of any other."""
    kept = {name: value for name, value in headers.items() if name.lower() != "authorization"}
    return {**kept, "Authorization": token}


def _which(message: Message) -> UUID | None:
    try:
        return UUID(message.data["mcp_id"])
    except (KeyError, TypeError, ValueError):
        return None
