"""Failed sign-ins in a row, and how long one has to wait after them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.dialects import mysql, sqlite

from storage.sql.engine import SessionT, WriteSession
from storage.sql.repository import Repository, changed_rows
from storage.sql.tables import SignInFailureRow

_FORGOTTEN_AFTER = timedelta(days=1)
_LONGEST_DELAY = 15 * 60


@dataclass(frozen=True)
class Limit:
    """What failures are counted by, and how many are free."""

    subject: str
    """`account:<id>`, `name:<a name that nobody has>` or `address:<address or network>`."""
    threshold: int

    def delay(self, failures: int) -> timedelta:
        """Tell how long to wait after so many failures: 1 s, 2 s, 4 s … up to 15 minutes."""
        beyond = failures - self.threshold
        seconds = 0 if beyond < 0 else min(2 ** min(beyond, 20), _LONGEST_DELAY)
        return timedelta(seconds=seconds)


class FailureRepository(Repository[SessionT]):
    """Failed sign-ins. A day after the last one they are forgotten."""

    async def waiting(self, limits: Sequence[Limit], now: datetime) -> timedelta | None:
        """Tell how long it still takes until the next attempt may be made; None: it may be made now."""
        query = select(SignInFailureRow).where(
            SignInFailureRow.subject.in_([limit.subject for limit in limits])
        )
        rows = await self._session.scalars(query.execution_options(populate_existing=True))
        ends = [row.locked_until for row in rows if row.locked_until is not None and row.locked_until > now]
        return max(ends) - now if ends else None

    async def lock(self: "FailureRepository[WriteSession]", limits: Sequence[Limit], now: datetime) -> None:
        """Let attempts at the same subjects wait for each other until this transaction ends."""
        for limit in sorted(limits, key=lambda limit: limit.subject):
            values = {"subject": limit.subject, "failures": 0, "last_failed_at": now}
            if self._session.get_bind().dialect.name == "sqlite":
                # The transaction itself is the lock.
                await self._session.execute(
                    sqlite.insert(SignInFailureRow).values(values).on_conflict_do_nothing()
                )
                continue
            # Takes the row's exclusive lock at once: a shared one first would end in deadlocks.
            touch = mysql.insert(SignInFailureRow).values(values)
            await self._session.execute(touch.on_duplicate_key_update(failures=SignInFailureRow.failures))

    async def count(self: "FailureRepository[WriteSession]", limits: Sequence[Limit], now: datetime) -> None:
        """Count a failure of each subject; they are locked."""
        for limit in limits:
            same = select(SignInFailureRow).where(SignInFailureRow.subject == limit.subject)
            row = await self._session.scalar(same.execution_options(populate_existing=True))
            recent = row is not None and now - row.last_failed_at < _FORGOTTEN_AFTER
            failures = row.failures + 1 if row is not None and recent else 1
            delay = limit.delay(failures)
            change = update(SignInFailureRow).where(SignInFailureRow.subject == limit.subject)
            await self._session.execute(
                change.values(
                    failures=failures, last_failed_at=now, locked_until=now + delay if delay else None
                )
            )

    async def forget(self: "FailureRepository[WriteSession]", subject: str) -> None:
        """Forget the failures of a subject."""
        await self._session.execute(delete(SignInFailureRow).where(SignInFailureRow.subject == subject))

    async def forget_old(self: "FailureRepository[WriteSession]", now: datetime) -> int:
        """Forget what happened long ago; tells how many rows."""
        old = delete(SignInFailureRow).where(SignInFailureRow.last_failed_at <= now - _FORGOTTEN_AFTER)
        return await changed_rows(self._session, old)
