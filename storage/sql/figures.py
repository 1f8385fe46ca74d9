"""What was counted and measured of deployments, by replica and by span of time.

Rows are bounded: a replica has at most 25 h / 1 min + 8 d / 15 min + 1 = 2,269 (and one day's more
minutes, as they are swept once a day: 3,709), and so has each whole deployment.

Many gateways and workers add to the same rows: see `storage.sql.call_sums`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Table,
    case,
    delete,
    func,
    literal,
    literal_column,
    select,
)
from sqlalchemy.dialects import mysql, sqlite

from mcp_platform.contracts.deployments import ReplicaState
from mcp_platform.contracts.figures import CallCount, Histogram, UsageCount
from storage.sql.call_sums import CallSum, add_sums
from storage.sql.engine import SessionT, WriteSession
from storage.sql.repository import Repository
from storage.sql.tables import DeploymentRow, FigureRow, ReplicaRow

MINUTE: Final = 60
QUARTER: Final = 900
EVER: Final = 0

_KEPT: Final = {MINUTE: timedelta(hours=25), QUARTER: timedelta(days=8)}

_TABLE: Final[Table] = FigureRow.__table__  # type: ignore[assignment]
_KEY: Final = ("deployment_id", "span", "begins", "replica_id")


class Key(NamedTuple):
    """Whose row, and of which time."""

    deployment_id: UUID
    span: int
    begins: int
    replica_id: UUID

    @property
    def order(self) -> tuple[str, int, int, str]:
        """Where it stands in the order in which all lock."""
        return self.deployment_id.hex, self.span, self.begins, self.replica_id.hex


@dataclass(frozen=True)
class UsageSum:
    """What one replica, or all together, used within one step of a chart."""

    seconds: float
    """Of all replicas together."""
    longest: float
    """Of the replica that was there the longest."""
    cpu_seconds: float
    memory_bytes: int | None
    restarts: int


@dataclass(frozen=True)
class Standing:
    """A replica that is not stopped, and where it stands."""

    id: UUID
    slug: str
    place: int
    state: ReplicaState
    restarts: int


class FigureRepository(Repository[SessionT]):
    """Adds to the rows, reads them for charts, and forgets them in time."""

    async def add_calls(self: "FigureRepository[WriteSession]", counts: Iterable[CallCount]) -> None:
        """Add calls to the replicas that answered and to their deployments."""
        sums: dict[Key, CallSum] = {}
        for count in counts:
            for key in _keys(count.deployment_id, count.replica_id, count.minute):
                sums.setdefault(key, CallSum()).add(
                    count.requests, count.errors, count.latency_ms, Histogram(count.histogram)
                )
        ordered = sorted(sums.items(), key=lambda pair: pair[0].order)
        await add_sums(self._session, _TABLE, _KEY, ordered, _EMPTY)

    async def add_usage(self: "FigureRepository[WriteSession]", counts: Sequence[UsageCount]) -> None:
        """Add what replicas used, and how often they were restarted since that was last told."""
        told = [count for count in counts if count.restarts is not None]
        known = await self._restarts(told)
        rows: dict[Key, dict[str, Any]] = {}
        for count in counts:
            new = 0
            if count.restarts is not None:
                ever = Key(count.deployment_id, EVER, 0, count.replica_id)
                new = max(count.restarts - known.get(count.replica_id, count.restarts), 0)
                known[count.replica_id] = count.restarts
                rows[ever] = {**_nothing(ever), "restarts": count.restarts}
            for span in (MINUTE, QUARTER):
                key = Key(count.deployment_id, span, _begin(count.minute, span), count.replica_id)
                _add_usage(rows.setdefault(key, _nothing(key)), count, new)
        await self._upsert(
            ("seconds", "cpu_seconds", "memory_bytes", "restarts"),
            [row for _, row in sorted(rows.items(), key=lambda pair: pair[0].order)],
        )

    async def totals(self, deployment_id: UUID) -> dict[UUID, CallSum]:
        """Give the calls of all time, by replica, and under the deployment's own id those of the whole."""
        query = select(FigureRow).where(FigureRow.deployment_id == deployment_id, FigureRow.span == EVER)
        return {row.replica_id: _sum(row) for row in await self._session.scalars(query)}

    async def calls(
        self, deployment_id: UUID, replica_id: UUID | None, step: timedelta, since: int
    ) -> dict[int, CallSum]:
        """Give the calls of a deployment or replica, by the beginning of the step."""
        seconds = int(step.total_seconds())
        query = select(FigureRow).where(
            *_rows_of(deployment_id, seconds, since),
            FigureRow.replica_id == (replica_id or deployment_id),
            FigureRow.requests > 0,
        )
        found: dict[int, CallSum] = {}
        for row in await self._session.scalars(query):
            each = _sum(row)
            found.setdefault(_begin(row.begins, seconds), CallSum()).add(
                each.requests, each.errors, each.latency_ms, each.histogram
            )
        return found

    async def usage(
        self, deployment_id: UUID, replica_id: UUID | None, step: timedelta, since: int
    ) -> dict[int, UsageSum]:
        """Give what a deployment's replicas, or one of them, used, by the beginning of the step."""
        seconds = int(step.total_seconds())
        begins = (FigureRow.begins - FigureRow.begins % literal(seconds)).label("step_begins")
        whose = FigureRow.replica_id != deployment_id
        if replica_id is not None:
            whose = FigureRow.replica_id == replica_id
        each = (
            select(
                begins,
                func.sum(FigureRow.seconds).label("seconds"),
                func.sum(FigureRow.cpu_seconds).label("cpu_seconds"),
                func.max(FigureRow.memory_bytes).label("memory_bytes"),
                func.sum(FigureRow.restarts).label("restarts"),
            )
            .where(*_rows_of(deployment_id, seconds, since), whose)
            .group_by(begins, FigureRow.replica_id)
            .subquery()
        ).c
        query = select(
            each.step_begins,
            func.sum(each.seconds),
            func.max(each.seconds),
            func.sum(each.cpu_seconds),
            func.sum(each.memory_bytes),
            func.sum(each.restarts),
        ).group_by(each.step_begins)
        return {
            int(begin): UsageSum(
                seconds=total,
                longest=longest,
                cpu_seconds=cpu,
                # MySQL adds whole numbers up to a Decimal.
                memory_bytes=None if memory is None else int(memory),
                restarts=int(restarts or 0),
            )
            for begin, total, longest, cpu, memory, restarts in await self._session.execute(query)
        }

    async def standing(self) -> list[Standing]:
        """List the replicas of all deployments that are not stopped."""
        query = (
            select(
                ReplicaRow.id, DeploymentRow.slug, ReplicaRow.ordinal, ReplicaRow.state, ReplicaRow.restarts
            )
            .join(DeploymentRow, DeploymentRow.id == ReplicaRow.deployment_id)
            .where(DeploymentRow.active_slug.is_not(None), ReplicaRow.state != ReplicaState.STOPPED)
        )
        return [Standing(*row) for row in await self._session.execute(query)]

    async def deployment_ids(self) -> list[UUID]:
        """List all deployments that have figures."""
        return list(await self._session.scalars(select(FigureRow.deployment_id).distinct()))

    async def forget_old(self: "FigureRepository[WriteSession]", deployment_id: UUID, now: datetime) -> None:
        """Delete what is past its time, and the totals of replicas and deployments that are gone."""
        own = FigureRow.deployment_id == deployment_id
        for span, kept in _KEPT.items():
            before = int((now - kept).timestamp())
            await self._session.execute(
                delete(FigureRow).where(own, FigureRow.span == span, FigureRow.begins < before)
            )
        ever = own & (FigureRow.span == EVER)
        living = select(ReplicaRow.id).where(
            ReplicaRow.deployment_id == deployment_id, ReplicaRow.state != ReplicaState.STOPPED
        )
        await self._session.execute(
            delete(FigureRow).where(
                ever, FigureRow.replica_id != deployment_id, FigureRow.replica_id.not_in(living)
            )
        )
        known = select(DeploymentRow.id).where(DeploymentRow.id == deployment_id)
        await self._session.execute(delete(FigureRow).where(ever, FigureRow.deployment_id.not_in(known)))

    async def _upsert(
        self: "FigureRepository[WriteSession]", columns: Sequence[str], rows: list[dict[str, Any]]
    ) -> None:
        if not rows:
            return
        connection = await self._session.connection()
        if connection.dialect.name == "sqlite":
            lite = sqlite.insert(_TABLE)
            await connection.execute(
                lite.on_conflict_do_update(index_elements=_KEY, set_=_sums(columns, lite.excluded)), rows
            )
        else:
            my = mysql.insert(_TABLE)
            await connection.execute(my.on_duplicate_key_update(_sums(columns, my.inserted)), rows)

    async def _restarts(self, counts: Sequence[UsageCount]) -> dict[UUID, int]:
        """Give the restarts that are known of these replicas; a replica that is new has none."""
        query = select(FigureRow.replica_id, FigureRow.restarts).where(
            FigureRow.deployment_id.in_({count.deployment_id for count in counts}),
            FigureRow.span == EVER,
            FigureRow.restarts.is_not(None),
        )
        if not counts:
            return {}
        return {row[0]: row[1] or 0 for row in await self._session.execute(query)}


_EMPTY: Final = {
    "requests": 0,
    "errors": 0,
    "latency_ms": 0.0,
    "histogram": None,
    "seconds": 0.0,
    "cpu_seconds": 0.0,
    "memory_bytes": None,
    "restarts": None,
}


def _begin(moment: int, span: int) -> int:
    return moment - moment % span


def _keys(deployment_id: UUID, replica_id: UUID | None, minute: int) -> Iterator[Key]:
    """Give the rows that a call of this minute counts in."""
    for whose in (deployment_id, replica_id):
        if whose is not None:
            yield Key(deployment_id, EVER, 0, whose)
            yield Key(deployment_id, MINUTE, minute, whose)
            yield Key(deployment_id, QUARTER, _begin(minute, QUARTER), whose)


def _nothing(key: Key) -> dict[str, Any]:
    return {**_EMPTY, **key._asdict()}


def _add_usage(row: dict[str, Any], count: UsageCount, restarts: int) -> None:
    row["seconds"] += count.seconds
    row["cpu_seconds"] += count.cpu_seconds
    row["restarts"] = (row["restarts"] or 0) + restarts
    if count.memory_bytes is not None:
        row["memory_bytes"] = max(row["memory_bytes"] or 0, count.memory_bytes)


def _rows_of(deployment_id: UUID, step: int, since: int) -> tuple[ColumnElement[bool], ...]:
    """Give the rows that steps of this many seconds are made of."""
    span = QUARTER if step % QUARTER == 0 else MINUTE
    return (FigureRow.deployment_id == deployment_id, FigureRow.span == span, FigureRow.begins >= since)


def _sum(row: FigureRow) -> CallSum:
    return CallSum(row.requests, row.errors, row.latency_ms, Histogram.read(row.histogram))


def _sums(columns: Sequence[str], new: Any) -> dict[str, ColumnElement[Any]]:
    """Give what a row has after the new one was added to it."""
    old = _TABLE.c
    # Written out: asyncmy takes parameters in one place of a statement that it is given many rows for.
    zero: ColumnElement[int] = literal_column("0")
    added: dict[str, ColumnElement[Any]] = {
        "memory_bytes": case(
            (func.coalesce(old.memory_bytes, zero) < new.memory_bytes, new.memory_bytes),
            else_=old.memory_bytes,
        ),
        "restarts": case(
            (old.span == zero, new.restarts), else_=func.coalesce(old.restarts, zero) + new.restarts
        ),
    }
    return {name: added[name] if name in added else old[name] + new[name] for name in columns}
