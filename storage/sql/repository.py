"""What all repositories share."""

from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, cast

from sqlalchemy import CursorResult, Executable, Select, func, select
from sqlalchemy.exc import IntegrityError

from storage.sql.engine import SessionT, WriteSession

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a list, and how many entries the whole list has."""

    items: list[T]
    total: int


class Repository(Generic[SessionT]):
    """Queries over one session. What changes anything asks for a `WriteSession` in its type."""

    def __init__(self, session: SessionT) -> None:
        self._session: Final = session

    async def _rows(self, query: Select[Any], page: int, page_size: int) -> tuple[list[Any], int]:
        count = select(func.count()).select_from(query.order_by(None).subquery())
        total = await self._session.scalar(count)
        rows = await self._session.scalars(query.limit(page_size).offset((page - 1) * page_size))
        return list(rows), total or 0


async def changed_rows(session: WriteSession, statement: Executable) -> int:
    """Execute a statement and count the rows that it matched."""
    result = cast("CursorResult[Any]", await session.execute(statement))
    return result.rowcount


async def inserted(session: WriteSession, statement: Executable) -> bool:
    """Insert, or tell that a unique value is taken; the transaction goes on either way."""
    try:
        await session.execute(statement)
    except IntegrityError as error:
        if is_duplicate(error):
            return False
        raise
    return True


def is_duplicate(error: IntegrityError) -> bool:
    """Tell whether a unique value was taken, and not another rule broken."""
    name = getattr(error.orig, "sqlite_errorname", None)
    if name is not None:
        return name in {"SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"}
    return error.orig is not None and error.orig.args[0] == 1062
