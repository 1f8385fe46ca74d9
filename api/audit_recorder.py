"""Writes the audit log's entries, those of concurrent requests together."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import structlog
from prometheus_client import Counter

from mcp_platform.contracts.audit import AuditEvent
from mcp_platform.errors import Unavailable
from mcp_platform.security.sealing import CannotUnseal
from storage.sql.audit import AuditLog

logger = structlog.get_logger(__name__)

_AT_ONCE: Final = 500
_MOST_WAITING: Final = 10_000
_PATIENCE: Final = 5.0
"""Seconds that a request waits for its entry; then it is answered, and the entry follows."""
_RETRY_AFTER: Final = 1.0

_LOST: Final = Counter(
    "mcp_platform_audit_entries_lost_total",
    "Entries of the audit log that were given up, because the database was away for too long.",
)


@dataclass(frozen=True)
class _Waiting:
    event: AuditEvent
    done: asyncio.Future[None]


class AuditRecorder:
    """The one writer of a process: what came while it wrote goes into its next transaction.

    While the database is away the entries wait in memory, within a bound, and no request fails for it.
    """

    def __init__(self, log: AuditLog) -> None:
        self._log = log
        self._waiting: deque[_Waiting] = deque()
        self._news = asyncio.Event()
        self._ending = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Write while the body runs; at the end write what is left, if the database lets us."""
        writer = asyncio.create_task(self._write())
        try:
            yield
        finally:
            # Not cancelled while it writes: a transaction that is cut off may be committed all the same, and
            # its entries would be written twice.
            self._ending = True
            self._news.set()
            await asyncio.wait([writer], timeout=_PATIENCE)
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    while self._waiting and await self._write_some():
                        pass
            self._lose(len(self._waiting))

    async def record(self, event: AuditEvent) -> None:
        """Return when the entry is written; or when that failed, and it will be tried again."""
        entry = _Waiting(event, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        self._lose(len(self._waiting) - _MOST_WAITING)
        self._news.set()
        await asyncio.wait([entry.done], timeout=_PATIENCE)

    async def _write(self) -> None:
        while not self._ending:
            await self._news.wait()
            self._news.clear()
            while self._waiting and not self._ending:
                if await self._write_some():
                    continue
                # A new entry is tried at once: whoever waits for it may have reached the database.
                with suppress(TimeoutError):
                    async with asyncio.timeout(_RETRY_AFTER):
                        await self._news.wait()
                self._news.clear()

    async def _write_some(self) -> bool:
        """Write the oldest entries; false if they have to wait."""
        batch = [self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))]
        written = False
        try:
            await self._append([entry.event for entry in batch])
            written = True
        except (Unavailable, CannotUnseal) as error:
            logger.warning("audit_entries_wait", count=len(batch) + len(self._waiting), error=str(error))
        finally:
            if not written:
                self._waiting.extendleft(reversed(batch))
            for entry in batch:
                if not entry.done.done():
                    entry.done.set_result(None)
        return written

    async def _append(self, events: Sequence[AuditEvent]) -> None:
        try:
            await self._log.append(events)
        except (Unavailable, CannotUnseal):
            raise
        except Exception:
            if len(events) == 1:
                # It would stand in the way of all that follow.
                logger.exception("audit_entry_refused", action=events[0].action)
                _LOST.inc()
                return
            for event in events:
                await self._append([event])

    def _lose(self, count: int) -> None:
        """Give the oldest entries up, and say so."""
        if count <= 0:
            return
        for _ in range(count):
            lost = self._waiting.popleft()
            logger.error("audit_entry_lost", **lost.event.model_dump(mode="json"))
            if not lost.done.done():
                lost.done.set_result(None)
        _LOST.inc(count)
