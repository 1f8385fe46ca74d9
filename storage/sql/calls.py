"""The journal of calls: rows that are written in batches, read by page and forgotten in time.

A row's id is `<ms since 1970><number within the writing process><that process>`, 32 hexadecimal digits:
it grows with time, no two processes ever give the same one, and a batch whose commit is in doubt may be
written again.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Dialect, Select, Table, delete, or_, select
from sqlalchemy.dialects import mysql, sqlite

from mcp_platform.contracts.calls import CallFilter, CallRecord
from storage.sql.engine import SessionT, WriteSession
from storage.sql.repository import Repository
from storage.sql.tables import CallRow, McpRow, UserRow

CALL_COLUMNS: Final = (
    "id",
    "mcp_id",
    "slug",
    "tool",
    "replica_id",
    "user_id",
    "credential",
    "via",
    "outcome",
    "duration_ms",
    "request_id",
    "error_code",
)
"""What a row consists of, in this order; UUIDs are written as 32 hexadecimal digits."""

LONGEST_TOOL: Final = 128
_MOMENT_DIGITS: Final = 12
_TABLE: Final[Table] = CallRow.__table__  # type: ignore[assignment]


class CallRepository(Repository[SessionT]):
    """Adds calls, lists them, and forgets them in time."""

    async def add(self: "CallRepository[WriteSession]", rows: Sequence[tuple[Any, ...]]) -> None:
        """Write rows, each a tuple of `CALL_COLUMNS`; one that is there already stays as it is."""
        if rows:
            connection = await self._session.connection()
            # As plain values: at thousands of calls a second the ORM's conversions are what costs.
            await connection.exec_driver_sql(_insertion(connection.dialect), list(rows))

    async def newest(self, wanted: CallFilter, before: str | None, limit: int) -> list[CallRecord]:
        """List calls, the newest first, that are older than the one with this id."""
        query = (
            select(CallRow, UserRow.username)
            .outerjoin(UserRow, UserRow.id == CallRow.user_id)
            .order_by(CallRow.id.desc())
            .limit(limit)
        )
        if before is not None:
            query = query.where(CallRow.id < before)
        found = await self._session.execute(_filtered(query, wanted))
        return [_record(row, username) for row, username in found]

    async def forget(self: "CallRepository[WriteSession]", before: datetime, limit: int) -> int:
        """Delete up to so many of the oldest calls that ended before this moment; count them."""
        oldest = select(CallRow.id).where(CallRow.id < _prefix(before)).order_by(CallRow.id).limit(limit)
        ids = list(await self._session.scalars(oldest))
        if ids:
            await self._session.execute(delete(CallRow).where(CallRow.id <= ids[-1]))
        return len(ids)


def call_id(ended_at: float, number: int, process: int) -> str:
    """Make the id of a call.

    Args:
        ended_at: Seconds since 1970.
        number: Counts the calls of the process.
        process: 48 bits that no other process has.
    """
    return f"{int(ended_at * 1000):012x}{number & 0xFFFFFFFF:08x}{process:012x}"


def _insertion(dialect: Dialect) -> str:
    if dialect.name == "sqlite":
        lite = sqlite.insert(_TABLE).on_conflict_do_nothing()
        return str(lite.compile(dialect=dialect, column_keys=list(CALL_COLUMNS)))
    my = mysql.insert(_TABLE).on_duplicate_key_update(id=_TABLE.c.id)
    return str(my.compile(dialect=dialect, column_keys=list(CALL_COLUMNS)))


def _filtered(query: Select[CallRow, str], wanted: CallFilter) -> Select[CallRow, str]:
    for column, value in ((CallRow.tool, wanted.tool), (CallRow.outcome, wanted.outcome)):
        if value is not None:
            query = query.where(column == value)
    if wanted.mcp is not None:
        number = _uuid(wanted.mcp)
        query = query.where(CallRow.slug == wanted.mcp if number is None else CallRow.mcp_id == number)
    if wanted.user is not None:
        number = _uuid(wanted.user)
        named = select(UserRow.id).where(UserRow.username_key == wanted.user.lower()).scalar_subquery()
        query = query.where(CallRow.user_id == (named if number is None else number))
    if wanted.since is not None:
        query = query.where(CallRow.id >= _prefix(wanted.since))
    if wanted.until is not None:
        query = query.where(CallRow.id < _prefix(wanted.until))
    if wanted.visible_to is not None:
        own = select(McpRow.id).where(McpRow.author_id == wanted.visible_to)
        query = query.where(or_(CallRow.user_id == wanted.visible_to, CallRow.mcp_id.in_(own)))
    if wanted.mcp_ids is not None:
        query = query.where(CallRow.mcp_id.in_(wanted.mcp_ids))
    return query


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _prefix(moment: datetime) -> str:
    """Give what the ids of calls of this millisecond begin with."""
    return f"{max(int(moment.timestamp() * 1000), 0):012x}"


def _record(row: CallRow, username: str | None) -> CallRecord:
    values = {name: getattr(row, name) for name in CALL_COLUMNS}
    ended_at = datetime.fromtimestamp(int(row.id[:_MOMENT_DIGITS], 16) / 1000, UTC)
    return CallRecord(**values, ended_at=ended_at, username=username)


def sanitized(text: str, length: int) -> str:
    """Give a caller's text as both engines can store it."""
    cut = text[:length]
    return cut if cut.isascii() else cut.encode("utf-8", "replace").decode("utf-8")
