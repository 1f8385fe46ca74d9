"""The audit log: entries are appended to one chain, by any number of processes, and never changed."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import structlog
from sqlalchemy import Select, delete, func, insert, or_, select, update

from mcp_platform.contracts.audit import AuditEntry, AuditEvent, AuditFilter
from mcp_platform.security.audit_chain import BEGINNING, PURPOSE, ChainKey, new_chain_key, same
from mcp_platform.security.sealing import Sealer
from storage.sql.engine import Database, ReadSession, SessionT, WriteSession
from storage.sql.repository import Repository, inserted
from storage.sql.tables import AuditChainRow, AuditEntryRow

logger = structlog.get_logger(__name__)

ENTRY_COLUMNS: Final = tuple(getattr(AuditEntryRow, name) for name in AuditEntry.model_fields)

_THE_ONE: Final = 1
_FORGOTTEN_AT_ONCE: Final = 1000
_READ_AT_ONCE: Final = 500
_LONGEST_WORD: Final = 255


class AuditRepository(Repository[SessionT]):
    """Reading entries."""

    async def newest(self, wanted: AuditFilter, before_seq: int | None, limit: int) -> list[AuditEntry]:
        """List entries, the newest first, that are older than the one with this number."""
        query = _filtered(select(*ENTRY_COLUMNS), wanted).order_by(AuditEntryRow.seq.desc()).limit(limit)
        if before_seq is not None:
            query = query.where(AuditEntryRow.seq < before_seq)
        found = await self._session.execute(query)
        return [AuditEntry.model_validate(row._mapping) for row in found]


class AuditLog:
    """The chain of entries.

    Args:
        database: Where it is.
        sealer: Opens the key of its hashes.
    """

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer
        self._opened: tuple[str, ChainKey] | None = None

    async def append(self, events: Sequence[AuditEvent]) -> None:
        """Write entries, all of them or none, behind whatever any process wrote before.

        Raises:
            Unavailable: The database cannot be reached.
            CannotUnseal: The chain's key is sealed under another master key.
        """
        if events:
            async with self.recording(events):
                pass

    @asynccontextmanager
    async def recording(self, events: Sequence[AuditEvent]) -> AsyncIterator[WriteSession]:
        """Open a transaction with these entries in it: they and what is done in it are kept, or neither.

        Raises:
            Unavailable: The database cannot be reached.
            CannotUnseal: The chain's key is sealed under another master key.
        """
        while True:
            async with self._database.write() as session:
                chain = await _locked_chain(session)
                if chain is not None:
                    await self._append(session, chain, events)
                    yield session
                    return
            # In a transaction of its own: two that both met no row would wait for each other.
            async with self._database.write() as session:
                await inserted(session, insert(AuditChainRow).values(self._beginning()))

    async def newest_first(self, wanted: AuditFilter) -> AsyncGenerator[list[AuditEntry], None]:
        """Give all entries, some at a time, the newest first; each time from a transaction of its own."""
        before: int | None = None
        while True:
            async with self._database.read() as session:
                entries = await AuditRepository(session).newest(wanted, before, _READ_AT_ONCE)
            if not entries:
                return
            yield entries
            before = entries[-1].seq

    async def forget(self, before: datetime) -> int:
        """Remove entries that are older, from the first on; what remains is still one whole chain."""
        async with self._database.read() as session:
            query = select(AuditEntryRow.seq).where(AuditEntryRow.at >= before)
            kept = await session.scalar(query.order_by(AuditEntryRow.seq).limit(1))
            last = await session.scalar(select(func.max(AuditEntryRow.seq)))
        end = kept if kept is not None else (last or 0) + 1
        forgotten = 0
        while True:
            async with self._database.write() as session:
                count = await self._forget_some(session, end)
            forgotten += count
            if count < _FORGOTTEN_AT_ONCE:
                return forgotten

    def open_key(self, chain: AuditChainRow) -> ChainKey:
        """Open the key that makes the chain's hashes.

        Raises:
            CannotUnseal: It is sealed under another master key, or was changed.
        """
        if self._opened is None or self._opened[0] != chain.sealed_key:
            key = ChainKey(self._sealer.unseal(chain.sealed_key, PURPOSE))
            self._opened = (chain.sealed_key, key)
        return self._opened[1]

    async def _append(
        self, session: WriteSession, chain: AuditChainRow, events: Sequence[AuditEvent]
    ) -> None:
        key = self.open_key(chain)
        seq, previous = chain.last_seq, chain.last_hash
        rows: list[dict[str, Any]] = []
        for event in map(_storable, events):
            seq += 1
            made = key.entry_hash(seq, previous, event)
            rows.append({**event.model_dump(), "seq": seq, "previous_hash": previous, "hash": made})
            previous = made
        await session.execute(insert(AuditEntryRow), rows)
        await _move_ends(session, chain, key, last_seq=seq, last_hash=previous)

    async def _forget_some(self, session: WriteSession, end: int) -> int:
        chain = await _locked_chain(session)
        if chain is None or chain.first_seq >= end:
            return 0
        last = min(chain.first_seq + _FORGOTTEN_AT_ONCE, end) - 1
        last_hash = await session.scalar(select(AuditEntryRow.hash).where(AuditEntryRow.seq == last))
        if last_hash is None:
            logger.error("audit_log_broken", missing_entry=last)
            return 0
        count = last + 1 - chain.first_seq
        await session.execute(delete(AuditEntryRow).where(AuditEntryRow.seq <= last))
        await _move_ends(session, chain, self.open_key(chain), first_seq=last + 1, first_hash=last_hash)
        return count

    def _beginning(self) -> dict[str, Any]:
        sealed = new_chain_key(self._sealer)
        key = ChainKey(self._sealer.unseal(sealed, PURPOSE))
        return {
            "id": _THE_ONE,
            "first_seq": 1,
            "first_hash": BEGINNING,
            "last_seq": 0,
            "last_hash": BEGINNING,
            "ends_hash": key.ends_hash(1, BEGINNING, 0, BEGINNING),
            "sealed_key": sealed,
        }


async def read_chain(session: ReadSession) -> AuditChainRow | None:
    """Read where the log begins and ends; None if nothing was ever written."""
    return await session.get(AuditChainRow, _THE_ONE)


def ends_hold(chain: AuditChainRow, key: ChainKey) -> bool:
    """Tell whether the platform itself said where the log begins and ends."""
    ends = key.ends_hash(chain.first_seq, chain.first_hash, chain.last_seq, chain.last_hash)
    return same(ends, chain.ends_hash)


async def _locked_chain(session: WriteSession) -> AuditChainRow | None:
    query = select(AuditChainRow).where(AuditChainRow.id == _THE_ONE).with_for_update()
    return await session.scalar(query)


async def _move_ends(session: WriteSession, chain: AuditChainRow, key: ChainKey, **moved: Any) -> None:
    if ends_hold(chain, key):
        names = ("first_seq", "first_hash", "last_seq", "last_hash")
        first_seq, first_hash, last_seq, last_hash = (moved.get(name, getattr(chain, name)) for name in names)
        moved["ends_hash"] = key.ends_hash(first_seq, first_hash, last_seq, last_hash)
    else:
        # Somebody else changed this row. The log goes on, but the mark that says so must not be mended.
        logger.error("audit_log_broken", reason="the record of its beginning and end was changed")
    await session.execute(update(AuditChainRow).where(AuditChainRow.id == _THE_ONE).values(moved))


def _storable(event: AuditEvent) -> AuditEvent:
    """Give the event as both engines store it to the letter: the hash covers what is read back."""
    cut = {
        name: value[:_LONGEST_WORD].encode("utf-8", "replace").decode("utf-8")
        for name in AuditEvent.model_fields
        if isinstance(value := getattr(event, name), str) and name != "outcome"
    }
    return event.model_copy(update=cut)


def _filtered(query: Select[Any], wanted: AuditFilter) -> Select[Any]:
    for column, value in (
        (AuditEntryRow.resource_type, wanted.resource_type),
        (AuditEntryRow.resource_id, wanted.resource_id),
        (AuditEntryRow.outcome, wanted.outcome),
        (AuditEntryRow.address, wanted.address),
    ):
        if value is not None:
            query = query.where(column == value)
    if wanted.action is not None:
        room = AuditEntryRow.action.startswith(f"{wanted.action}.", autoescape=True)
        query = query.where(or_(AuditEntryRow.action == wanted.action, room))
    if wanted.actor is not None:
        query = query.where(_is_actor(wanted.actor))
    if wanted.since is not None:
        query = query.where(AuditEntryRow.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(AuditEntryRow.at < wanted.until)
    return query


def _is_actor(actor: str) -> Any:
    try:
        return AuditEntryRow.actor_id == UUID(actor)
    except ValueError:
        return func.lower(AuditEntryRow.actor_name) == actor.lower()
