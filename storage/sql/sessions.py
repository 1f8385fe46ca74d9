"""Sessions of MCP clients where there is no Redis: embedded, they outlive the process like all else."""

import time
from collections.abc import Collection

from sqlalchemy import delete, func, insert, select, update

from storage.sql.engine import Database
from storage.sql.repository import changed_rows
from storage.sql.tables import ClientSessionRow


class KeptSessions:
    """Each session is a row, which counts for nothing after a time without use."""

    def __init__(self, database: Database, idle_timeout: float) -> None:
        self._database = database
        self._idle = idle_timeout

    async def count(self, owner: str) -> tuple[int, int]:
        """Count all sessions, and those of one owner; those that ended are removed.

        Raises:
            Unavailable: The database is away.
        """
        row = ClientSessionRow
        async with self._database.write() as session:
            await session.execute(delete(row).where(row.used_at < self._ended))
            whole = await session.scalar(select(func.count()).select_from(row)) or 0
            own = await session.scalar(select(func.count()).select_from(row).where(row.owner == owner)) or 0
        return whole, own

    async def put(self, number: str, owner: str, text: str) -> None:
        """Keep a session, or what it has become.

        Raises:
            Unavailable: The database is away.
        """
        values = {"owner": owner, "body": text, "used_at": time.time()}
        row = ClientSessionRow
        async with self._database.write() as session:
            if not await changed_rows(session, update(row).where(row.id == number).values(values)):
                await session.execute(insert(row).values(id=number, **values))

    async def get(self, number: str) -> str | None:
        """Find a session.

        Raises:
            Unavailable: The database is away.
        """
        row = ClientSessionRow
        async with self._database.read() as session:
            query = select(row.body).where(row.id == number, row.used_at >= self._ended)
            found: str | None = await session.scalar(query)
        return found

    async def touch(self, used: Collection[tuple[str, str]]) -> set[str]:
        """Note that these were used, each by its id and owner; answers which of them have ended.

        Raises:
            Unavailable: The database is away.
        """
        row = ClientSessionRow
        numbers = {number for number, _ in used}
        async with self._database.write() as session:
            known = set(await session.scalars(select(row.id).where(row.id.in_(numbers))))
            await session.execute(update(row).where(row.id.in_(known)).values(used_at=time.time()))
        return numbers - known

    async def delete(self, number: str, owner: str) -> None:
        """Forget a session.

        Raises:
            Unavailable: The database is away.
        """
        row = ClientSessionRow
        async with self._database.write() as session:
            await session.execute(delete(row).where(row.id == number, row.owner == owner))

    @property
    def _ended(self) -> float:
        return time.time() - self._idle
