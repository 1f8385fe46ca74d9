"""What was counted of tools, by span of time: true for the calls of all gateway processes.

Rows are bounded: a tool has at most 25 h / 1 min + 8 d / 15 min + 1 = 2,269 (and one day's more minutes,
as they are swept once a day: 3,709), and so have all calls together.
"""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Table, and_, delete, or_, select

from mcp_platform.contracts.calls import ToolCount
from mcp_platform.contracts.figures import Histogram
from storage.sql.call_sums import CallSum, add_sums
from storage.sql.engine import SessionT, WriteSession
from storage.sql.figures import EVER, MINUTE, QUARTER
from storage.sql.repository import Repository, changed_rows
from storage.sql.tables import McpRow, ToolFigureRow

ALL_CALLS: Final = (UUID(int=0), "")
"""Whose rows hold all calls together."""

_KEPT: Final = {MINUTE: timedelta(hours=25), QUARTER: timedelta(days=8)}
_EXACT: Final = timedelta(hours=24)
"""How far back a window may reach to begin at a minute; a longer one begins at a quarter of an hour."""
_TABLE: Final[Table] = ToolFigureRow.__table__  # type: ignore[assignment]
_KEY: Final = ("span", "mcp_id", "tool", "begins")


class Key(NamedTuple):
    """Whose row, and of which time."""

    span: int
    mcp_id: UUID
    tool: str
    begins: int

    @property
    def order(self) -> tuple[int, str, str, int]:
        """Where it stands in the order in which all lock."""
        return self.span, self.mcp_id.hex, self.tool, self.begins


class ToolFigureRepository(Repository[SessionT]):
    """Adds to the rows, reads them, and forgets them in time."""

    async def add(self: "ToolFigureRepository[WriteSession]", counts: Iterable[ToolCount]) -> None:
        """Add calls to their tools, and to all calls together."""
        sums: dict[Key, CallSum] = {}
        for count in counts:
            for key in _keys(count):
                sums.setdefault(key, CallSum()).add(
                    count.requests, count.errors, count.latency_ms, Histogram(count.histogram)
                )
        ordered = sorted(sums.items(), key=lambda pair: pair[0].order)
        await add_sums(self._session, _TABLE, _KEY, ordered, {"histogram": None})

    async def ever(self) -> CallSum:
        """Give all calls since there are figures."""
        return (await self._read(_TABLE.c.span == EVER, _whose([ALL_CALLS[0]], ""))).get(ALL_CALLS, CallSum())

    async def together(self, now: datetime, window: timedelta) -> CallSum:
        """Give all calls within this window."""
        return (await self._read(_within(now, window), _whose([ALL_CALLS[0]], ""))).get(ALL_CALLS, CallSum())

    async def tools(
        self, now: datetime, window: timedelta, mcp_ids: Collection[UUID], tool: str | None
    ) -> dict[tuple[UUID, str], CallSum]:
        """Give the calls of each tool of these MCPs within the window; of one tool alone, if it is named."""
        return await self._read(_within(now, window), _whose(mcp_ids, tool))

    async def forget_old(self: "ToolFigureRepository[WriteSession]", now: datetime) -> int:
        """Delete what is past its time, and the tools of MCPs that are gone; count the rows."""
        forgotten = 0
        for span, kept in _KEPT.items():
            before = int((now - kept).timestamp())
            old = delete(ToolFigureRow).where(ToolFigureRow.span == span, ToolFigureRow.begins < before)
            forgotten += await changed_rows(self._session, old)
        gone = delete(ToolFigureRow).where(
            ToolFigureRow.mcp_id != ALL_CALLS[0], ToolFigureRow.mcp_id.not_in(select(McpRow.id))
        )
        return forgotten + await changed_rows(self._session, gone)

    async def _read(self, *conditions: ColumnElement[bool]) -> dict[tuple[UUID, str], CallSum]:
        found: dict[tuple[UUID, str], CallSum] = {}
        columns = ("mcp_id", "tool", "requests", "errors", "latency_ms", "histogram")
        query = select(*(_TABLE.c[name] for name in columns)).where(*conditions)
        for mcp_id, tool, requests, errors, latency_ms, histogram in await self._session.execute(query):
            each = found.setdefault((mcp_id, tool), CallSum())
            each.add(requests, errors, latency_ms, Histogram.read(histogram))
        return found


def _keys(count: ToolCount) -> Iterator[Key]:
    """Give the rows that calls of this minute count in."""
    for mcp_id, tool in ((count.mcp_id, count.tool), ALL_CALLS):
        yield Key(EVER, mcp_id, tool, 0)
        yield Key(MINUTE, mcp_id, tool, count.minute)
        yield Key(QUARTER, mcp_id, tool, count.minute - count.minute % QUARTER)


def _within(now: datetime, window: timedelta) -> ColumnElement[bool]:
    """Give the rows that make up the window: minutes up to the next quarter of an hour, then quarters."""
    since = int((now - window).timestamp())
    span, begins = _TABLE.c.span, _TABLE.c.begins
    if window > _EXACT:
        return and_(span == QUARTER, begins >= since - since % QUARTER)
    minute = since - since % MINUTE
    quarter = minute + -minute % QUARTER
    return or_(
        and_(span == MINUTE, begins >= minute, begins < quarter), and_(span == QUARTER, begins >= quarter)
    )


def _whose(mcp_ids: Collection[UUID], tool: str | None) -> ColumnElement[bool]:
    of: Any = _TABLE.c.mcp_id.in_(mcp_ids)
    return of if tool is None else and_(of, _TABLE.c.tool == tool)
