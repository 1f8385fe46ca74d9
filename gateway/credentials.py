"""Who is calling: access tokens and API keys, without a database round trip for each call."""

import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from redis.asyncio import Redis

from mcp_platform.contracts.access import Principal
from mcp_platform.errors import Unauthorized
from mcp_platform.names import Channel
from mcp_platform.security.api_keys import API_KEY_PREFIX, api_key_hash
from mcp_platform.security.permissions import ROLE_PERMISSIONS
from mcp_platform.security.tokens import Tokens
from storage.cache import listen
from storage.sql.access import ApiKeyRepository
from storage.sql.engine import Database

_KEPT = 30.0
_REFUSAL_KEPT = 2.0
_MOST_KEPT = 10_000
_MAX_CREDENTIAL_LENGTH = 8192


@dataclass(frozen=True)
class _Entry:
    until: float
    principal: Principal | None
    """None: refused."""
    ends: datetime | None = None
    """When the credential itself ends."""


class Credentials:
    """Reads credentials out of request headers.

    What was found is kept for half a minute, and a refusal for two seconds. A message that an API key
    changed drops all that is kept, so a revoked key ends at once; where the message is lost, it ends
    with the half minute.
    """

    def __init__(self, database: Database, cache: Redis, tokens: Tokens) -> None:
        self._database = database
        self._cache = cache
        self._tokens = tokens
        self._kept: OrderedDict[str, _Entry] = OrderedDict()
        self._drops = 0

    async def authenticate(self, headers: Mapping[str, str]) -> Principal:
        """Find the caller, from `Authorization: Bearer` (a token or an API key) or `X-API-Key`.

        Args:
            headers: Found without regard to case, as Starlette's are.

        Raises:
            Unauthorized: There is no credential, or it does not hold.
        """
        credential = _credential(headers)
        # Only digests are kept: a dump of this process's memory shows no keys that others use.
        digest = api_key_hash(credential)
        entry = self._kept.get(digest)
        if entry is None or entry.until <= time.monotonic():
            entry = await self._look_up(credential, digest)
        if entry.principal is None or (entry.ends is not None and entry.ends <= datetime.now(UTC)):
            raise Unauthorized
        return entry.principal

    async def follow(self) -> None:
        """Drop what is kept whenever an API key changed; runs until cancelled."""
        async for _ in listen(self._cache, Channel.CREDENTIALS):
            self._kept.clear()
            self._drops += 1

    async def _look_up(self, credential: str, digest: str) -> _Entry:
        drops = self._drops
        if credential.startswith(API_KEY_PREFIX):
            entry = await self._find_key(digest)
        else:
            entry = self._read_token(credential)
        # What was read before a message is older than the message.
        if drops == self._drops:
            self._kept[digest] = entry
            self._kept.move_to_end(digest)
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return entry

    async def _find_key(self, digest: str) -> _Entry:
        async with self._database.read() as session:
            owner = await ApiKeyRepository(session).find_by_hash(digest)
        if owner is None or not owner.user.is_active:
            return _refusal()
        principal = Principal(
            user_id=owner.user.id,
            username=owner.user.username,
            permissions=ROLE_PERMISSIONS[owner.user.role],
            credential=f"key:{owner.key_id}",
        )
        return _Entry(time.monotonic() + _KEPT, principal, owner.expires_at)

    def _read_token(self, token: str) -> _Entry:
        try:
            principal = self._tokens.read_access(token)
            return _Entry(time.monotonic() + _KEPT, principal, self._tokens.read_expiry(token))
        except Unauthorized:
            return _refusal()


def _refusal() -> _Entry:
    return _Entry(time.monotonic() + _REFUSAL_KEPT, None)


def _credential(headers: Mapping[str, str]) -> str:
    scheme, _, value = headers.get("authorization", "").partition(" ")
    key = headers.get("x-api-key", "").strip()
    credential = value.strip() if scheme.lower() == "bearer" else key
    if scheme.lower() != "bearer" and key and not key.startswith(API_KEY_PREFIX):
        raise Unauthorized
    if not credential or len(credential) > _MAX_CREDENTIAL_LENGTH:
        raise Unauthorized("A credential is needed: Authorization: Bearer <token>, or X-API-Key")
    return credential
