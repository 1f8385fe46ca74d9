"""Who is listening, and whether they still may: one watcher for all live connections of a process."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Final

import structlog
from starlette.requests import HTTPConnection

from api.outbox import Outbox
from gateway.credentials import Credentials
from mcp_platform.contracts.access import Principal
from mcp_platform.errors import Forbidden, Unauthorized, Unavailable

logger = structlog.get_logger(__name__)

_TICK: Final = 1.0
"""Seconds between looks at what has expired."""
_RECHECK: Final = 60.0
"""Seconds after which every credential is asked about, in case a message was lost."""
_WITHOUT_A_PAUSE: Final = 100


class Admission:
    """One live connection: whose it is, by which credential, and how to end it."""

    __slots__ = ("_headers", "_outbox", "principal")

    def __init__(self, principal: Principal, headers: Mapping[str, str], outbox: Outbox) -> None:
        self.principal = principal
        self._headers = headers
        self._outbox = outbox

    async def renew(self, credentials: Credentials, token: str) -> None:
        """Carry on with a newer credential of the same account.

        Raises:
            Unauthorized: It does not hold.
            Forbidden: It is somebody else's, or allows something else than the present one.
        """
        headers = bearer(token)
        principal = await credentials.authenticate(headers)
        if principal.user_id != self.principal.user_id or not _alike(principal, self.principal):
            raise Forbidden("tasks:read", "Carry on with a token of the same account and permissions")
        self.principal, self._headers = principal, headers

    def end_if_expired(self, now: datetime) -> bool:
        """End the connection if the credential is over its time."""
        expires_at = self.principal.expires_at
        if expires_at is None or expires_at > now:
            return False
        self._outbox.end(Unauthorized("The token has expired"))
        return True

    async def end_if_revoked(self, credentials: Credentials) -> None:
        """End the connection if the credential does not hold any more, or allows something else now.

        Raises:
            Unavailable: That cannot be told now.
        """
        headers = self._headers
        try:
            principal = await credentials.authenticate(headers)
        except Unauthorized:
            reason = "The credential does not hold any more"
        else:
            if _alike(principal, self.principal):
                return
            reason = "What the credential may do has changed; connect again"
        # It may have been renewed while we asked.
        if headers is self._headers:
            self._outbox.end(Unauthorized(reason))


class Admissions:
    """All live connections of one process."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._admitted: set[Admission] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Watch the credentials while the body runs."""
        watcher = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)

    @contextmanager
    def admitted(
        self, principal: Principal, headers: Mapping[str, str], outbox: Outbox
    ) -> Iterator[Admission]:
        """Have a connection ended, by its outbox, when its credential is; while the body runs."""
        admission = Admission(principal, headers, outbox)
        self._admitted.add(admission)
        try:
            yield admission
        finally:
            self._admitted.discard(admission)

    async def renew(self, admission: Admission, token: str) -> None:
        """Carry on with a newer credential of the same account.

        Raises:
            Unauthorized: It does not hold.
            Forbidden: It is somebody else's, or allows something else than the present one.
        """
        await admission.renew(self._credentials, token)

    async def _watch(self) -> None:
        seen = self._credentials.generation
        checked = time.monotonic()
        while True:
            known = seen
            try:
                async with asyncio.timeout(_TICK):
                    seen = await self._credentials.next_change(known)
            except TimeoutError:
                pass
            now = datetime.now(UTC)
            for admission in list(self._admitted):
                admission.end_if_expired(now)
            if seen == known and time.monotonic() - checked < _RECHECK:
                continue
            checked = time.monotonic()
            try:
                await self._check_all()
            except Unavailable as error:
                # Nobody is cut off because a store is away; asked again with the next tick.
                logger.info("credentials_not_checked", error=str(error))
                checked -= _RECHECK
            except Exception:
                # A watcher that died would leave every later revocation without effect.
                logger.exception("credentials_not_checked")

    async def _check_all(self) -> None:
        for number, admission in enumerate(list(self._admitted)):
            if number % _WITHOUT_A_PAUSE == 0:
                await asyncio.sleep(0)
            await admission.end_if_revoked(self._credentials)


def bearer(token: str) -> Mapping[str, str]:
    """Give the headers that carry this token."""
    return {"authorization": f"Bearer {token}"}


def credential_of(connection: HTTPConnection) -> Mapping[str, str]:
    """Keep what the caller came with, and nothing else of the request."""
    token = connection.query_params.get("token")
    if token:
        return bearer(token)
    names = ("authorization", "x-api-key")
    return {name: connection.headers[name] for name in names if name in connection.headers}


def _alike(one: Principal, other: Principal) -> bool:
    return one.permissions == other.permissions and one.mcp_ids == other.mcp_ids
