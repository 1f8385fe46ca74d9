"""What was set while the platform ran: it survives restarts, and every process reads it."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select, update

from storage.sql.engine import SessionT, WriteSession
from storage.sql.repository import Repository, inserted
from storage.sql.tables import RunningSettingRow


class RunningSettingRepository(Repository[SessionT]):
    """Values by name."""

    async def get(self, name: str) -> dict[str, Any] | None:
        """Give what was set last, or None if nothing ever was."""
        query = select(RunningSettingRow.value).where(RunningSettingRow.name == name)
        value: dict[str, Any] | None = await self._session.scalar(query)
        return value

    async def put(
        self: "RunningSettingRepository[WriteSession]", name: str, value: dict[str, Any], changed_by: UUID
    ) -> None:
        """Set a value."""
        values = {"value": value, "changed_at": datetime.now(UTC), "changed_by": changed_by}
        if not await inserted(self._session, insert(RunningSettingRow).values(name=name, **values)):
            row = update(RunningSettingRow).where(RunningSettingRow.name == name)
            await self._session.execute(row.values(values))
