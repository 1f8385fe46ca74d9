"""Suggesting what could be better about a registered MCP."""

from typing import Any

from temporalio import workflow

from activities.improvements import ImprovementActivities
from mcp_platform.contracts.checks import PackageFinding, TrialOrder, TrialReport
from mcp_platform.contracts.improvements import (
    ConcludeImprovements,
    ImprovementOrder,
    JudgeImprovements,
    Looked,
)
from mcp_platform.contracts.models import EngineChoice, ModelOrder
from mcp_platform.contracts.tasks import TaskStatus
from workflows.checks import Shown, look_up, try_server
from workflows.models import ask_model
from workflows.policies import READING
from workflows.tasks import TaskWorkflow

_RULES_WANTED = "rules alone were asked for"


@workflow.defn(name="improvements.suggest")
class ImprovementWorkflow(TaskWorkflow):
    """Look at the MCP, check what can be checked, judge by rules, hear a model."""

    @workflow.run
    async def run(self, order: ImprovementOrder) -> TaskStatus:
        """Answer with the final status, whose result is an `Improvements`."""
        return await self._carry_out(lambda: self._steps(order))

    async def _steps(self, order: ImprovementOrder) -> dict[str, Any]:
        self._advance(5, "Reading the MCP and its tools")
        looked = await workflow.execute_activity_method(ImprovementActivities.look, order, **READING)
        trials = await self._try(order, looked)
        findings = await self._look_up(looked)
        self._advance(70, "Weighing what was found")
        input_key = await workflow.execute_activity_method(
            ImprovementActivities.judge,
            JudgeImprovements(order=order, looked=looked, trials=trials, findings=findings),
            **READING,
        )
        conclusion = await self._hear_model(order, input_key)
        self._advance(95, "Recording the suggestions")
        result = await workflow.execute_activity_method(ImprovementActivities.conclude, conclusion, **READING)
        return result.model_dump(mode="json")

    async def _try(self, order: ImprovementOrder, looked: Looked) -> list[TrialReport]:
        reports = []
        for number, server in enumerate(looked.servers):
            first = 15 + 10 * number
            trial = TrialOrder(
                task_id=order.task_id,
                owner_id=order.owner_id,
                draft_key=looked.draft_key,
                server=server.name,
                trusted=server.trusted,
                may_run_commands=order.may_run_commands,
            )
            shown = Shown(self._advance, f"the server {server.name}", first, first + 10)
            reports.append(await try_server(trial, shown))
        return reports

    async def _look_up(self, looked: Looked) -> list[PackageFinding]:
        if looked.packages:
            self._advance(55, "Looking up packages")
        return [await look_up(used.question) for used in looked.packages]

    async def _hear_model(self, order: ImprovementOrder, input_key: str) -> ConcludeImprovements:
        if order.engine is EngineChoice.RULES:
            return ConcludeImprovements(order=order, engine_reason=_RULES_WANTED)
        self._advance(80, "Asking a model for wording, where one is configured")
        outcome = await ask_model(
            ModelOrder(
                task_id=order.task_id, owner_id=order.owner_id, prompt="improvements", input_key=input_key
            )
        )
        return ConcludeImprovements(
            order=order, answer=outcome.answer, model=outcome.model, engine_reason=outcome.reason
        )
