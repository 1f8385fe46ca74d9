"""`/api/v1/models`: which language models are asked, what they cost, and what they may cost."""

from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from api.dependencies import PartsDep, Requires
from api.v1.answers import pages
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.base import Contract
from mcp_platform.contracts.models import NANOS, ModelUsage, next_day
from mcp_platform.errors import Forbidden
from mcp_platform.model_settings import ChainedModel
from storage.sql.model_usage import LISTED_DAYS, day_of

router = APIRouter(prefix="/models", tags=["Models"])

Asker = Annotated[Principal, Depends(Requires(Permission.ANALYSIS_RUN))]


class ModelView(Contract):
    """A model of the chain; prices are US dollars for a million tokens."""

    model: str
    timeout: float
    max_output_tokens: int
    input_price: float | None
    output_price: float | None


class BudgetView(Contract):
    """What the caller's calls come to today (UTC), and may come to; null is no bound."""

    tokens: int | None
    used_tokens: int
    dollars: float | None
    used_dollars: float
    renewed_at: str


class ModelsView(Contract):
    """The models that are asked, the first one first. None: analyses go by rules."""

    models: list[ModelView]
    budget: BudgetView


class UsagePage(Contract):
    """One page of usage, the newest day first."""

    items: list[ModelUsage]
    total: int
    page: int
    page_size: int
    pages: int


@router.get("")
async def list_models(caller: Asker, parts: PartsDep) -> ModelsView:
    """List the language models that analyses ask, and say what is left of the caller's budget."""
    own, now = parts.settings.models, datetime.now(UTC)
    async with parts.stores.read() as rows:
        spent = await rows.model_usage.spent(caller.user_id, now)
    return ModelsView(
        models=[_view(model) for model in own.chain],
        budget=BudgetView(
            tokens=own.daily_tokens or None,
            used_tokens=spent.tokens,
            dollars=own.daily_dollars or None,
            used_dollars=round(spent.nanos / NANOS, 9),
            renewed_at=next_day(now),
        ),
    )


@router.get("/usage")
async def list_usage(
    caller: Asker,
    parts: PartsDep,
    user_id: Annotated[UUID | None, Query(description="Whose; others' need `models:all`")] = None,
    days: Annotated[int, Query(ge=1, le=LISTED_DAYS, description="How many days, with today")] = 30,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    page_size: Annotated[int, Query(ge=1, le=100)] = 20,
) -> UsagePage:
    """List what models were asked and what it cost, by day, model and account.

    With `models:all` everybody's, else one's own.
    """
    everybody = Permission.MODELS_ALL in caller.permissions
    if user_id not in {None, caller.user_id} and not everybody:
        raise Forbidden(Permission.MODELS_ALL)
    now = datetime.now(UTC)
    async with parts.stores.read() as rows:
        found = await rows.model_usage.list(
            now,
            since=day_of(now - timedelta(days=days - 1)),
            user_id=user_id if everybody else caller.user_id,
            page=page,
            page_size=page_size,
        )
    return UsagePage(
        items=found.items,
        total=found.total,
        page=page,
        page_size=page_size,
        pages=pages(found.total, page_size),
    )


def _view(model: ChainedModel) -> ModelView:
    return ModelView(
        model=model.model,
        timeout=model.timeout,
        max_output_tokens=model.max_output_tokens,
        input_price=model.input_price,
        output_price=model.output_price,
    )
