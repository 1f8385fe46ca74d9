"""Asking a model within a workflow."""

from temporalio import workflow
from temporalio.exceptions import ActivityError, TimeoutError

from activities.models import ModelActivities
from mcp_platform.contracts.models import ModelOrder, ModelOutcome
from workflows.policies import ASKING


async def ask_model(order: ModelOrder) -> ModelOutcome:
    """Ask the model; without an answer, the outcome's `reason` says why, and rules have to do.

    Raises:
        ActivityError: The owner's budget is used up; the task is to fail with that.
    """
    try:
        return await workflow.execute_activity_method(ModelActivities.ask, order, **ASKING)
    except ActivityError as error:
        if isinstance(error.cause, TimeoutError):
            return ModelOutcome(reason="no model answered in time")
        raise
