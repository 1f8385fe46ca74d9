"""A workflow that asks a model once, and an interceptor that makes it impatient."""

from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.worker import (
    Interceptor,
    StartActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from mcp_platform.contracts.models import ModelOrder, ModelOutcome
from workflows.models import ask_model


@workflow.defn(name="tests.ask")
class AskWorkflow:
    """Asks once."""

    @workflow.run
    async def run(self, order: ModelOrder) -> ModelOutcome:
        """Give the outcome."""
        return await ask_model(order)


class Impatient(Interceptor):
    """Gives activities half a second, whatever their policy says."""

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor] | None:
        """Give what stands in the way."""
        return _Inbound


class _Inbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))


class _Outbound(WorkflowOutboundInterceptor):
    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:
        input.schedule_to_close_timeout = timedelta(seconds=0.5)
        return super().start_activity(input)
