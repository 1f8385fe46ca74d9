"""What language models may cost the caller today."""

from datetime import UTC, datetime

from api.parts import Parts
from mcp_platform.contracts.access import Principal
from mcp_platform.contracts.models import BudgetState, next_day
from mcp_platform.errors import BudgetExhausted


async def check_budget(parts: Parts, caller: Principal) -> None:
    """Let a task begin that may ask a model.

    Raises:
        BudgetExhausted: The caller's budget of today is used up.
    """
    models = parts.settings.models
    if not models.chain or not models.budget.bounded:
        return
    now = datetime.now(UTC)
    async with parts.stores.read() as rows:
        spent = await rows.model_usage.spent(caller.user_id, now)
    if models.budget.state(spent) is BudgetState.USED_UP:
        raise BudgetExhausted(models.budget.text, next_day(now))
