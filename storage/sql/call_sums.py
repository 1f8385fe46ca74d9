"""Sums of calls in rows that many processes add to.

All add within the database, in the order of the keys, so that nothing is lost and nobody waits in a
circle. Histograms are added in between: whoever has added to a row's sums holds the row until the end
of the transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Table, bindparam, select, tuple_, update
from sqlalchemy.dialects import mysql, sqlite

from mcp_platform.contracts.figures import Histogram
from storage.sql.engine import WriteSession

_AT_ONCE: Final = 500
_COLUMNS: Final = ("requests", "errors", "latency_ms")


@dataclass
class CallSum:
    """Calls of one row."""

    requests: int = 0
    errors: int = 0
    latency_ms: float = 0.0
    histogram: Histogram = field(default_factory=Histogram)

    def add(self, requests: int, errors: int, latency_ms: float, histogram: Histogram) -> None:
        """Add what was counted elsewhere."""
        self.requests += requests
        self.errors += errors
        self.latency_ms += latency_ms
        self.histogram.add(histogram)


async def add_sums(
    session: WriteSession,
    table: Table,
    key: Sequence[str],
    ordered: Sequence[tuple[tuple[Any, ...], CallSum]],
    blank: Mapping[str, Any],
) -> None:
    """Add sums to their rows.

    Args:
        session: The transaction.
        table: It has `requests`, `errors`, `latency_ms` and `histogram`.
        key: The columns of its primary key.
        ordered: The rows' keys and what to add, in the order in which all lock.
        blank: What else a row begins with.
    """
    if not ordered:
        return
    rows = [
        {
            **blank,
            **dict(zip(key, of, strict=True)),
            "requests": each.requests,
            "errors": each.errors,
            "latency_ms": each.latency_ms,
        }
        for of, each in ordered
    ]
    connection = await session.connection()
    if connection.dialect.name == "sqlite":
        lite = sqlite.insert(table)
        added = {name: table.c[name] + lite.excluded[name] for name in _COLUMNS}
        await connection.execute(lite.on_conflict_do_update(index_elements=key, set_=added), rows)
    else:
        my = mysql.insert(table)
        added = {name: table.c[name] + my.inserted[name] for name in _COLUMNS}
        await connection.execute(my.on_duplicate_key_update(added), rows)
    for begin in range(0, len(ordered), _AT_ONCE):
        await _add_histograms(session, table, key, ordered[begin : begin + _AT_ONCE])


async def _add_histograms(
    session: WriteSession,
    table: Table,
    key: Sequence[str],
    sums: Sequence[tuple[tuple[Any, ...], CallSum]],
) -> None:
    columns = [table.c[name] for name in key]
    query = select(*columns, table.c.histogram).where(tuple_(*columns).in_([tuple(of) for of, _ in sums]))
    connection = await session.connection()
    stored = {tuple(row[:-1]): row[-1] for row in await connection.execute(query)}
    rows = []
    for of, each in sums:
        merged = Histogram.read(stored.get(tuple(of)))
        merged.add(each.histogram)
        values = {f"key_{name}": value for name, value in zip(key, of, strict=True)}
        rows.append({**values, "new_histogram": merged.stored()})
    same = [table.c[name] == bindparam(f"key_{name}") for name in key]
    await connection.execute(update(table).where(*same).values(histogram=bindparam("new_histogram")), rows)
