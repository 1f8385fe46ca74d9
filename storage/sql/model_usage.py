"""What language models were asked, what it cost, and what it may cost."""

import builtins
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, case, delete, func, insert, or_, select, update

from mcp_platform.contracts.models import (
    NANOS,
    Budget,
    BudgetState,
    CallOutcome,
    ModelCall,
    ModelUsage,
    Spent,
)
from storage.sql.engine import SessionT, WriteSession
from storage.sql.repository import Page, Repository, changed_rows, inserted
from storage.sql.tables import ModelCallRow, UserRow

LONGEST_CALL: Final = timedelta(minutes=15)
"""After this nothing is in flight any more: who asked is gone, and what was set aside counts as used."""

LISTED_DAYS: Final = 366
"""How far back usage is kept."""

_IN_FLIGHT = ModelCallRow.outcome == CallOutcome.IN_FLIGHT


class ModelUsageRepository(Repository[SessionT]):
    """Calls by question and number: recorded before they are made, so that each counts exactly once."""

    async def begin(
        self: "ModelUsageRepository[WriteSession]", call: ModelCall, budget: Budget
    ) -> BudgetState:
        """Set aside what a call may come to at most, if the budget of its day leaves anything.

        Whoever asks for the same account waits in line here, so that no two take the same rest. What is
        used never passes the budget by more than one call's tokens.
        """
        if budget.bounded:
            await self._session.execute(
                select(UserRow.id).where(UserRow.id == call.user_id).with_for_update()
            )
            state = budget.state(await self.spent(call.user_id, call.started_at))
            if state is not BudgetState.FREE:
                return state
        values = call.model_dump() | {"day": day_of(call.started_at)}
        await inserted(self._session, insert(ModelCallRow).values(values))
        return BudgetState.FREE

    async def settle(self: "ModelUsageRepository[WriteSession]", call: ModelCall) -> bool:
        """Record what came of a call; false when that is recorded already: the first time counts."""
        values = call.model_dump(
            include={"outcome", "input_tokens", "output_tokens", "estimated", "cost_nanos"}
        )
        row = update(ModelCallRow).where(
            ModelCallRow.question_id == call.question_id, ModelCallRow.number == call.number, _IN_FLIGHT
        )
        return await changed_rows(self._session, row.values(values)) == 1

    async def lose(self: "ModelUsageRepository[WriteSession]", question_id: UUID) -> None:
        """Record that who made this question's calls has ended before their answers came."""
        row = update(ModelCallRow).where(ModelCallRow.question_id == question_id, _IN_FLIGHT)
        await self._session.execute(row.values(outcome=CallOutcome.LOST))

    async def of_question(self, question_id: UUID) -> builtins.list[ModelCall]:
        """List the calls that a question took, in their order."""
        query = select(ModelCallRow).where(ModelCallRow.question_id == question_id)
        rows = await self._session.scalars(query.order_by(ModelCallRow.number))
        return [ModelCall.model_validate(row, from_attributes=True) for row in rows]

    async def forget_old(self: "ModelUsageRepository[WriteSession]", now: datetime) -> int:
        """Delete calls that nobody can list any more; count them."""
        old = delete(ModelCallRow).where(ModelCallRow.day < day_of(now - timedelta(days=LISTED_DAYS)))
        return await changed_rows(self._session, old)

    async def spent(self, user_id: UUID, now: datetime) -> Spent:
        """Add up an account's calls of this day."""
        open_yet = and_(_IN_FLIGHT, ModelCallRow.started_at > now - LONGEST_CALL)
        tokens = ModelCallRow.input_tokens + ModelCallRow.output_tokens
        nanos = func.coalesce(ModelCallRow.cost_nanos, 0)
        query = select(
            _sum(case((open_yet, 0), else_=tokens)),
            _sum(case((open_yet, 0), else_=nanos)),
            _sum(case((open_yet, tokens), else_=0)),
            _sum(case((open_yet, nanos), else_=0)),
        ).where(ModelCallRow.user_id == user_id, ModelCallRow.day == day_of(now))
        row: Sequence[Any] = (await self._session.execute(query)).one()
        used, cost, reserved, reserved_cost = (int(value) for value in row)
        return Spent(tokens=used, nanos=cost, reserved_tokens=reserved, reserved_nanos=reserved_cost)

    async def list(
        self, now: datetime, *, since: str, user_id: UUID | None, page: int, page_size: int
    ) -> Page[ModelUsage]:
        """List one page, the newest day first, of one account's usage or of everybody's.

        Args:
            now: Calls that began long before are over, whatever became of them.
            since: The first day.
            user_id: Whose.
            page: Which page, from 1.
            page_size: How long a page is.
        """
        row = ModelCallRow
        over = or_(~_IN_FLIGHT, row.started_at <= now - LONGEST_CALL)
        conditions: builtins.list[ColumnElement[bool]] = [row.day >= since, over]
        if user_id is not None:
            conditions.append(row.user_id == user_id)
        query: Select[Any] = (
            select(
                row.day,
                row.model,
                row.user_id,
                func.count().label("calls"),
                _sum(case((row.outcome == CallOutcome.ANSWERED, 1), else_=0)).label("answered"),
                _sum(row.input_tokens).label("input_tokens"),
                _sum(row.output_tokens).label("output_tokens"),
                func.sum(row.cost_nanos).label("nanos"),
            )
            .where(*conditions)
            .group_by(row.day, row.model, row.user_id)
            .order_by(row.day.desc(), row.model, row.user_id)
        )
        total = await self._session.scalar(select(func.count()).select_from(query.order_by(None).subquery()))
        found = await self._session.execute(query.limit(page_size).offset((page - 1) * page_size))
        return Page([_usage(each) for each in found.mappings()], total or 0)


def day_of(moment: datetime) -> str:
    """Name the day, in UTC, that a moment lies in: `contracts` hold all moments in UTC."""
    return moment.date().isoformat()


def _sum(expression: Any) -> Any:
    return func.coalesce(func.sum(expression), 0)


def _usage(found: Any) -> ModelUsage:
    nanos = found["nanos"]
    return ModelUsage(
        day=found["day"],
        model=found["model"],
        user_id=found["user_id"],
        calls=found["calls"],
        answered=int(found["answered"]),
        input_tokens=int(found["input_tokens"]),
        output_tokens=int(found["output_tokens"]),
        cost=None if nanos is None else round(int(nanos) / NANOS, 9),
    )
