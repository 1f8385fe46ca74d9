"""The journal of calls: a bounded buffer in memory, written in batches."""

import secrets
import time
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from gateway import figures
from mcp_platform.contracts.access import Principal
from mcp_platform.contracts.calls import Outcome, Via
from mcp_platform.contracts.deployments import Route
from mcp_platform.errors import Unavailable
from storage.sql.calls import LONGEST_TOOL, CallRepository, call_id, sanitized
from storage.sql.engine import Database

log = structlog.get_logger(__name__)

_AT_ONCE: Final = 500
"""Lines of one statement: what calls have to wait for while it is made must be short."""
_TOGETHER: Final = 5_000
"""Lines of one transaction."""
_LONGEST_ID: Final = 128

_Noted = tuple[int, float, Route, UUID | None, str, Principal | None, Via, Outcome, float, str, str | None]
"""The call's number, when it ended, and what there is to say of it."""
_Row = tuple[Any, ...]


class Journal:
    """Calls that are not written yet; never what was said in them.

    Args:
        bound: How many it holds. While the database is away, calls beyond that are counted as lost.
    """

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._noted: list[_Noted] = []
        self._taken: list[_Noted] = []
        """Calls that are being written, or could not be."""
        self._lost = 0
        self._number = 0
        self._process = secrets.randbits(48)

    def note(
        self,
        route: Route,
        replica_id: UUID | None,
        tool: str,
        principal: Principal | None,
        via: Via,
        outcome: Outcome,
        seconds: float,
        request_id: str,
        error_code: str | None,
    ) -> None:
        """Keep a call that ended now."""
        noted = self._noted
        if len(noted) + len(self._taken) < self._bound:
            self._number = number = self._number + 1
            now = time.time()
            noted.append(
                (
                    number,
                    now,
                    route,
                    replica_id,
                    tool,
                    principal,
                    via,
                    outcome,
                    seconds,
                    request_id,
                    error_code,
                )
            )
        else:
            self._lost += 1

    @property
    def left(self) -> int:
        """How many calls are not written yet."""
        return len(self._taken) + len(self._noted)

    async def write(self, database: Database) -> bool:
        """Write what there is; false if some of it has to wait, because the database is away."""
        self._tell_lost()
        while self._taken or self._noted:
            if not self._taken:
                self._taken = self._noted[:_TOGETHER]
                del self._noted[:_TOGETHER]
            try:
                await self._write(database, self._taken)
            except (Unavailable, OSError) as error:
                log.warning("calls_not_written", count=self.left, error=str(error))
                return False
            self._taken = []
        return True

    def give_up(self) -> None:
        """Count what could not be written by the end as lost."""
        self._lost += self.left
        self._taken, self._noted = [], []
        self._tell_lost()

    async def _write(self, database: Database, calls: Sequence[_Noted]) -> None:
        try:
            async with database.write() as session:
                for begin in range(0, len(calls), _AT_ONCE):
                    rows = [self._row(each) for each in calls[begin : begin + _AT_ONCE]]
                    await CallRepository(session).add(rows)
        except SQLAlchemyError:
            if len(calls) == 1:
                # It would stand in the way of all that follow.
                log.exception("call_refused_by_database", slug=calls[0][2].slug)
                self._lost += 1
                return
            half = len(calls) // 2
            await self._write(database, calls[:half])
            await self._write(database, calls[half:])

    def _tell_lost(self) -> None:
        if self._lost:
            log.error("calls_not_journaled", count=self._lost)
            figures.CALLS_LOST.inc(self._lost)
            self._lost = 0

    def _row(self, noted: _Noted) -> _Row:
        number, ended_at, route, replica_id, tool, principal, via, outcome, seconds, request_id, code = noted
        if principal is not None:
            user_id, credential = principal.user_id.hex, principal.credential
        else:
            user_id, credential = None, "platform" if via is Via.PLATFORM else "public"
        return (
            call_id(ended_at, number, self._process),
            route.mcp_id.hex,
            route.slug,
            sanitized(tool, LONGEST_TOOL),
            None if replica_id is None else replica_id.hex,
            user_id,
            credential,
            via._value_,
            outcome._value_,
            round(seconds * 1000, 3),
            sanitized(request_id, _LONGEST_ID),
            code,
        )
