"""Checking that nobody but the platform wrote, changed or removed anything in the audit log."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import func, select

from mcp_platform.contracts.audit import AuditEntry, AuditEvent, Breach, BreachKind, Verification
from mcp_platform.security.audit_chain import BEGINNING, ChainKey, same
from mcp_platform.security.sealing import Sealer
from storage.sql.audit import ENTRY_COLUMNS, AuditLog, ends_hold, read_chain
from storage.sql.engine import Database
from storage.sql.tables import AuditChainRow, AuditEntryRow

_AT_ONCE: Final = 1000


@dataclass(frozen=True)
class _Link:
    """An entry as it is stored; without an event, it cannot even be read."""

    seq: int
    previous_hash: str = ""
    hash: str = ""
    event: AuditEvent | None = None


class AuditCheck:
    """One walk along the chain, while others may append to it and forget its beginning."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._log = AuditLog(database, sealer)
        self._entries = 0
        self._next = 1
        self._previous = BEGINNING
        self._first_at: datetime | None = None
        self._last_at: datetime | None = None

    async def run(self) -> Verification:
        """Walk from the first entry to the last, or to the first that is wrong.

        Raises:
            Unavailable: The database cannot be reached.
            CannotUnseal: The chain's key is sealed under another master key, or was changed.
        """
        chain = await self._read_chain()
        if chain is None:
            stray = await self._lowest_seq()
            breach = None if stray is None else Breach(kind=BreachKind.ENDS_CHANGED, seq=stray)
            return self._result(1, breach)
        key = self._log.open_key(chain)
        self._next, self._previous = chain.first_seq, chain.first_hash
        breach = await self._walk(chain, key)
        return self._result(chain.first_seq, breach)

    async def _walk(self, chain: AuditChainRow, key: ChainKey) -> Breach | None:
        while True:
            links = await self._read_links()
            for link in links:
                kind = self._look_at(link, chain, key)
                if kind is None:
                    continue
                newer = await self._read_chain()
                if newer is None or not self._explains(newer, key, chain):
                    return Breach(kind=kind, seq=link.seq if kind is BreachKind.ADDED else self._next)
                chain = newer
                break
            else:
                if not links:
                    return await self._at_end(chain, key)

    def _look_at(self, link: _Link, chain: AuditChainRow, key: ChainKey) -> BreachKind | None:
        """Step over an entry, or say what is wrong with it."""
        if self._next > chain.last_seq:
            return BreachKind.ADDED
        if link.seq != self._next:
            return BreachKind.CUT_AT_START if self._next == chain.first_seq else BreachKind.MISSING
        if link.event is None:
            return BreachKind.CHANGED
        if not same(link.previous_hash, self._previous):
            return BreachKind.REORDERED
        if not same(link.hash, key.entry_hash(link.seq, link.previous_hash, link.event)):
            return BreachKind.CHANGED
        self._entries += 1
        self._next, self._previous = link.seq + 1, link.hash
        self._first_at = self._first_at or link.event.at
        self._last_at = link.event.at
        return None

    def _explains(self, newer: AuditChainRow, key: ChainKey, chain: AuditChainRow) -> bool:
        """Tell whether what looks wrong is only what the platform itself did meanwhile."""
        if not ends_hold(newer, key):
            return False
        if newer.first_seq > self._next:
            self._next, self._previous = newer.first_seq, newer.first_hash
            return True
        return chain.last_seq < self._next <= newer.last_seq

    async def _at_end(self, chain: AuditChainRow, key: ChainKey) -> Breach | None:
        if self._next <= chain.last_seq:
            newer = await self._read_chain()
            if newer is None or newer.first_seq <= self._next:
                return Breach(kind=BreachKind.CUT_AT_END, seq=self._next)
        stray = await self._lowest_seq()
        if stray is not None and stray < chain.first_seq:
            return Breach(kind=BreachKind.ADDED, seq=stray)
        if not ends_hold(chain, key) or not same(chain.last_hash, self._previous):
            return Breach(kind=BreachKind.ENDS_CHANGED, seq=chain.last_seq)
        return None

    def _result(self, first_seq: int, breach: Breach | None) -> Verification:
        return Verification(
            entries=self._entries,
            first_seq=first_seq,
            last_seq=self._next - 1,
            last_hash=self._previous,
            first_at=self._first_at,
            last_at=self._last_at,
            breach=breach,
        )

    async def _read_chain(self) -> AuditChainRow | None:
        async with self._database.read() as session:
            return await read_chain(session)

    async def _lowest_seq(self) -> int | None:
        async with self._database.read() as session:
            return await session.scalar(select(func.min(AuditEntryRow.seq)))

    async def _read_links(self) -> list[_Link]:
        """Read the next entries; of one that cannot be read, what it should be is not asked."""
        try:
            return await self._read(_AT_ONCE)
        except ValueError:
            pass
        try:
            return await self._read(1)
        except ValueError:
            return [_Link(seq=self._next)]

    async def _read(self, limit: int) -> list[_Link]:
        query = select(*ENTRY_COLUMNS, AuditEntryRow.previous_hash).where(AuditEntryRow.seq >= self._next)
        async with self._database.read() as session:
            found = await session.execute(query.order_by(AuditEntryRow.seq).limit(limit))
        return [_link(row._mapping) for row in found]


def _link(row: Any) -> _Link:
    return _Link(row["seq"], row["previous_hash"], row["hash"], AuditEntry.model_validate(row))
