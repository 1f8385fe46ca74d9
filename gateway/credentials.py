"""Who is calling: access tokens and API keys, without a database round trip for each call."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import structlog
from redis.asyncio import Redis

from gateway.authorization.resources import Resources, endpoint_of_path
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.oauth import TOOLS_SCOPE
from mcp_platform.errors import PlatformError, Unauthorized, Unavailable
from mcp_platform.names import Channel
from mcp_platform.security.api_keys import API_KEY_PREFIX, api_key_hash
from mcp_platform.security.permissions import within_mcps, within_scopes
from mcp_platform.security.tokens import Tokens
from storage.cache import Message, listen, publish
from storage.sql.access import ApiKeyRepository, RefreshTokenRepository
from storage.sql.engine import Database
from storage.sql.oauth import GrantRepository

log = structlog.get_logger(__name__)

_KEPT = 30.0
_RENEWED = 20.0
"""Seconds after which what is kept and still used is read anew, while calls go by it: none waits for that."""
_REFUSAL_KEPT = 2.0
_TRUSTED = 600.0
"""Seconds for which somebody who was known is trusted while the database is away."""
_MOST_KEPT = 10_000
_MAX_CREDENTIAL_LENGTH = 8192
_FLUSH_INTERVAL = 30.0


@dataclass
class _Entry:
    until: float
    principal: Principal | None
    """None: refused."""
    ends: datetime | None = None
    """When the credential itself ends."""
    key_id: UUID | None = None
    """Which API key it is, if it is one."""
    since: float = field(default_factory=time.monotonic)
    """When it was read."""
    renew_at: float = field(default_factory=lambda: time.monotonic() + _RENEWED)


class Credentials:
    """Reads credentials out of request headers.

    What was found is kept for half a minute, and a refusal for two seconds; however many ask for one
    credential at once, it is looked up once. Whoever changes an account,
    a role, a session or an API key says so by `changed`, and what is kept of it is dropped: here before
    that call returns, in other processes by a message. Where the message is lost, a credential that
    was ended holds until the half minute is over.

    Args:
        database: Where accounts, sessions, keys and grants are.
        cache: Carries the messages.
        tokens: Reads access tokens.
        resources: The endpoints' addresses; without them tokens of OAuth clients are good for nothing here.
    """

    def __init__(
        self, database: Database, cache: Redis, tokens: Tokens, resources: Resources | None = None
    ) -> None:
        self._database = database
        self._cache = cache
        self._tokens = tokens
        self._resources = resources
        self._kept: OrderedDict[str, _Entry] = OrderedDict()
        self._looking: dict[str, asyncio.Task[_Entry]] = {}
        self._tasks: set[asyncio.Task[_Entry]] = set()
        """Those that look up, also what was dropped meanwhile."""
        self._uses: dict[UUID, datetime] = {}
        self._drops = 0
        self._dropped = asyncio.Event()

    async def authenticate(self, headers: Mapping[str, str], path: str = "") -> Principal:
        """Find the caller, from `Authorization: Bearer` (a token or an API key) or `X-API-Key`.

        Args:
            headers: Found without regard to case, as Starlette's are.
            path: Of the request, beneath `/mcp`: a token that an OAuth client got for one endpoint is
                good there alone, and nowhere else in the platform.

        Raises:
            Unauthorized: There is no credential, or it does not hold.
        """
        credential = _credential(headers)
        # Only digests are kept: a dump of this process's memory shows no keys that others use.
        digest = api_key_hash(credential)
        entry, moment = self._kept.get(digest), time.monotonic()
        if entry is None or entry.until <= moment:
            entry = await self._look_up_or_trust(entry, credential, digest)
        elif entry.renew_at <= moment:
            self._look_up(credential, digest)
        now = datetime.now(UTC)
        if entry.principal is None or (entry.ends is not None and entry.ends <= now):
            raise Unauthorized
        bound = entry.principal.endpoint
        if bound is not None and bound != endpoint_of_path(path):
            raise Unauthorized("This token is for another endpoint")
        if entry.key_id is not None:
            self._uses[entry.key_id] = now
        return entry.principal

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Hear of changes, and write down when keys were used, while the body runs."""
        tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._flush_forever())]
        try:
            yield
        finally:
            working = [*tasks, *self._tasks]
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)
            await self.flush()

    async def changed(self, user_id: UUID | None = None) -> None:
        """Make it known that an account's credentials changed, or everybody's, after it is committed."""
        self._drop(user_id)
        message = {} if user_id is None else {"user_id": str(user_id)}
        await publish(self._cache, Channel.CREDENTIALS, message)

    @property
    def generation(self) -> int:
        """How often something changed."""
        return self._drops

    async def next_change(self, since: int | None = None) -> int:
        """Wait until some credential may have changed: who holds a connection open asks again then.

        Args:
            since: The generation that was seen last, so that no change falls between two calls; the
                present one unless told.

        Returns:
            The generation now, for the next call.
        """
        seen = self._drops if since is None else since
        while self._drops == seen:
            await self._dropped.wait()
        return self._drops

    async def flush(self) -> None:
        """Write down when keys were last used; when that fails, the next time."""
        uses, self._uses = self._uses, {}
        if not uses:
            return
        try:
            async with self._database.write() as session:
                await ApiKeyRepository(session).note_uses(uses)
        except PlatformError as error:
            log.warning("key_uses_not_written", keys=len(uses), error=str(error))
            self._uses = uses | self._uses

    async def _flush_forever(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_INTERVAL)
            try:
                await self.flush()
            except Exception:
                # Calls go on without it.
                log.exception("key_uses_not_written")

    async def _follow(self) -> None:
        async for message in listen(self._cache, Channel.CREDENTIALS):
            self._drop(_whose(message))

    def _drop(self, user_id: UUID | None) -> None:
        """Forget what is kept of an account, or everything; refusals in any case."""
        if user_id is None:
            self._kept.clear()
        else:
            for digest, entry in list(self._kept.items()):
                if entry.principal is None or entry.principal.user_id == user_id:
                    del self._kept[digest]
        self._looking.clear()  # who asks from now on must not be told what was read before
        self._drops += 1
        self._dropped.set()
        self._dropped = asyncio.Event()

    async def _look_up_or_trust(self, known: _Entry | None, credential: str, digest: str) -> _Entry:
        """Look up; while the database is away, go by what was true when it was there.

        Nothing can be changed without the database, and a change that another process makes is heard of.
        """
        try:
            return await asyncio.shield(self._look_up(credential, digest))
        except Unavailable:
            now = time.monotonic()
            if known is None or known.principal is None or known.since + _TRUSTED < now:
                raise
            # Not to be asked again for each call: that may take seconds.
            known.until = known.renew_at = now + _REFUSAL_KEPT
            return known

    def _look_up(self, credential: str, digest: str) -> asyncio.Task[_Entry]:
        """Look up, or take part in the look-up that goes on."""
        looking = self._looking.get(digest)
        if looking is None:
            looking = asyncio.create_task(self._find(credential, digest))
            self._looking[digest] = looking
            self._tasks.add(looking)
            looking.add_done_callback(lambda task: self._looked_up(digest, task))
        return looking

    def _looked_up(self, digest: str, task: asyncio.Task[_Entry]) -> None:
        self._tasks.discard(task)
        if self._looking.get(digest) is task:
            del self._looking[digest]
        # Whoever waits for it has its error; what was found before holds until its time.
        if not task.cancelled() and task.exception() is not None and (known := self._kept.get(digest)):
            known.renew_at = time.monotonic() + _REFUSAL_KEPT

    async def _find(self, credential: str, digest: str) -> _Entry:
        drops = self._drops
        if credential.startswith(API_KEY_PREFIX):
            entry = await self._find_key(digest)
        else:
            entry = await self._find_session(credential)
        # What was read before a change is older than the change.
        if drops == self._drops:
            self._kept[digest] = entry
            self._kept.move_to_end(digest)
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return entry

    async def _find_key(self, digest: str) -> _Entry:
        async with self._database.read() as session:
            owner = await ApiKeyRepository(session).find_by_hash(digest)
        if owner is None:
            return _refusal()
        key = owner.key
        permissions = within_scopes(owner.permissions, key.scopes)
        principal = Principal(
            user_id=owner.user.id,
            username=owner.user.username,
            role=owner.user.role,
            permissions=permissions if key.mcp_ids is None else within_mcps(permissions),
            group_ids=owner.group_ids,
            credential=f"key:{key.id}",
            expires_at=key.expires_at,
            mcp_ids=None if key.mcp_ids is None else frozenset(key.mcp_ids),
        )
        return _Entry(time.monotonic() + _KEPT, principal, key.expires_at, key.id)

    async def _find_session(self, token: str) -> _Entry:
        try:
            claims = self._tokens.read_access(token)
        except Unauthorized:
            return await self._find_grant(token)
        async with self._database.read() as session:
            owner = await RefreshTokenRepository(session).owner(claims.family_id)
        if owner is None or owner.user.id != claims.user_id:
            return _refusal()
        principal = Principal(
            user_id=owner.user.id,
            username=owner.user.username,
            role=owner.user.role,
            permissions=owner.permissions,
            group_ids=owner.group_ids,
            credential=f"session:{claims.family_id}",
            expires_at=claims.expires_at,
        )
        return _Entry(time.monotonic() + _KEPT, principal, claims.expires_at)

    async def _find_grant(self, token: str) -> _Entry:
        """Find whom an OAuth client speaks for, and bind it to the one endpoint that its token names."""
        try:
            claims = self._tokens.read_grant(token)
        except Unauthorized:
            return _refusal()
        endpoint = self._resources.endpoint(claims.resource) if self._resources else None
        if endpoint is None or TOOLS_SCOPE not in claims.scope.split():
            return _refusal()
        async with self._database.read() as session:
            owner = await GrantRepository(session).owner(claims.grant_id, datetime.now(UTC))
        if owner is None or owner.user.id != claims.user_id or owner.grant.resource != claims.resource:
            return _refusal()
        principal = Principal(
            user_id=owner.user.id,
            username=owner.user.username,
            role=owner.user.role,
            permissions=owner.permissions & {Permission.TOOLS_CALL},
            group_ids=owner.group_ids,
            credential=f"grant:{claims.grant_id}",
            expires_at=claims.expires_at,
            endpoint=endpoint,
        )
        return _Entry(time.monotonic() + _KEPT, principal, claims.expires_at)


def _whose(message: Message) -> UUID | None:
    try:
        return UUID(message.data["user_id"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _refusal() -> _Entry:
    return _Entry(time.monotonic() + _REFUSAL_KEPT, None)


def _credential(headers: Mapping[str, str]) -> str:
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        credential = value.strip()
    else:
        credential = headers.get("x-api-key", "").strip()
        if credential and not credential.startswith(API_KEY_PREFIX):
            raise Unauthorized
    if not credential or len(credential) > _MAX_CREDENTIAL_LENGTH:
        raise Unauthorized("A credential is needed: Authorization: Bearer <token>, or X-API-Key")
    return credential
