"""Judging an idea before anybody builds it."""

import asyncio
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from activities.analysis import AnalysisActivities
from activities.known import KnownActivities
from mcp_platform.contracts.analysis import (
    Feasibility,
    FeasibilityOrder,
    IdeaFacts,
    JudgeOrder,
    KnownMcps,
    OpinionOrder,
    SearchOrder,
    TriedServer,
)
from mcp_platform.contracts.checks import PackageFinding, TrialOrder
from mcp_platform.contracts.known import FindOrder, KnownMatch
from mcp_platform.contracts.models import EngineChoice, ModelOrder
from mcp_platform.contracts.tasks import TaskState, TaskStatus
from workflows.checks import Shown, look_up, try_server
from workflows.failures import reason_of
from workflows.models import ask_model
from workflows.policies import READING, THOUGHTFUL
from workflows.tasks import TaskWorkflow

_WITH_EVIDENCE = "feasibility-by-evidence"
"""Since then it looks into catalogues, checks and asks a model; a run that began before goes its old way."""


@workflow.defn(name="analysis.feasibility")
class FeasibilityWorkflow(TaskWorkflow):
    """Understand the idea, find what is known of it, check what can be checked, judge it."""

    @workflow.run
    async def run(self, order: FeasibilityOrder) -> TaskStatus:
        """Answer with the final status, whose result is a `Feasibility`."""
        if order.recorded:
            return await self._carry_out(lambda: self._steps(order))
        try:
            result = await self._steps(order)
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            raise ApplicationError(reason_of(error), type="TaskFailed") from error
        self._change(status=TaskState.COMPLETED, progress=100, message="Completed", result=result)
        return self._status

    async def _steps(self, order: FeasibilityOrder) -> dict[str, Any]:
        self._advance(5, "Reading the idea")
        facts = await workflow.execute_activity_method(
            AnalysisActivities.understand, order.idea_key, **READING
        )
        if not workflow.patched(_WITH_EVIDENCE):
            return await self._former_steps(order, facts)
        self._advance(20, "Looking for what is known")
        known, matches, warnings = await self._look_around(order, facts)
        packages = await self._look_up(facts)
        trials = await self._try(order, facts, packages)
        self._advance(65, "Weighing risks and effort")
        asks = order.engine is EngineChoice.AUTO
        input_key = f"{order.idea_key}/judged"
        verdict = await workflow.execute_activity_method(
            AnalysisActivities.judge,
            JudgeOrder(
                idea_key=order.idea_key,
                facts=facts,
                known=known,
                matches=matches,
                packages=packages,
                trials=trials,
                warnings=warnings,
                input_key=input_key if asks else None,
            ),
            **THOUGHTFUL,
        )
        if asks:
            verdict = await self._hear_model(order, verdict, input_key)
        self._advance(95, "Recording the verdict")
        return verdict.model_dump(mode="json")

    async def _look_around(
        self, order: FeasibilityOrder, facts: IdeaFacts
    ) -> tuple[KnownMcps, list[KnownMatch], list[str]]:
        search = SearchOrder(
            text=facts.search_text,
            reads_mcps=order.reads_mcps,
            reads_knowledge=order.reads_knowledge,
            of_mcp=order.of_mcp,
        )
        known = await workflow.execute_activity_method(AnalysisActivities.search, search, **READING)
        find = FindOrder(text=facts.search_text, owner_id=order.owner_id)
        try:
            found = await workflow.execute_activity_method(KnownActivities.find, find, **READING)
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            return known, [], [f"The catalogue of known servers was not searched: {reason_of(error)}"]
        return known, [_brief(match) for match in found.matches], []

    async def _look_up(self, facts: IdeaFacts) -> list[PackageFinding]:
        if not facts.packages:
            return []
        names = ", ".join(use.question.name for use in facts.packages)
        self._advance(35, f"Looking up {names}"[:200])
        return list(await asyncio.gather(*(look_up(use.question) for use in facts.packages)))

    async def _try(
        self, order: FeasibilityOrder, facts: IdeaFacts, packages: list[PackageFinding]
    ) -> list[TriedServer]:
        if not order.tries or facts.draft_key is None:
            return []
        # Whoever registers a name that is free now would be run by the trial.
        found = zip(facts.packages, packages, strict=True)
        missing = {use.server for use, package in found if package.exists is False}
        trials = []
        names = [name for name in facts.to_try if name not in missing]
        share = 20 // max(len(names), 1)
        for number, name in enumerate(names):
            trial = TrialOrder(
                task_id=order.task_id,
                owner_id=order.owner_id,
                draft_key=facts.draft_key,
                server=name,
                trusted=name in facts.trusted,
                may_run_commands=order.may_run_commands and not facts.from_words,
            )
            first = 45 + share * number
            shown = Shown(self._advance, f"the server {name}", first, first + share)
            trials.append(TriedServer(server=name, report=await try_server(trial, shown)))
        return trials

    async def _hear_model(self, order: FeasibilityOrder, verdict: Feasibility, input_key: str) -> Feasibility:
        self._advance(80, "Asking a language model, where one is configured")
        question = ModelOrder(
            task_id=order.task_id, owner_id=order.owner_id, prompt="feasibility", input_key=input_key
        )
        outcome = await ask_model(question)
        return await workflow.execute_activity_method(
            AnalysisActivities.hear, OpinionOrder(verdict=verdict, outcome=outcome), **READING
        )

    async def _former_steps(self, order: FeasibilityOrder, facts: IdeaFacts) -> dict[str, Any]:
        self._advance(35, "Looking for MCPs that do the same")
        known = await workflow.execute_activity_method(
            AnalysisActivities.find_known, order.idea_key, **READING
        )
        self._advance(65, "Weighing risks and effort")
        verdict = await workflow.execute_activity_method(
            AnalysisActivities.judge,
            JudgeOrder(idea_key=order.idea_key, facts=facts, known=known),
            **THOUGHTFUL,
        )
        self._advance(95, "Recording the verdict")
        return verdict.model_dump(mode="json")


def _brief(match: KnownMatch) -> KnownMatch:
    """Leave out what the verdict does not need: histories stay small."""
    unneeded = {"description": "", "description_zh": "", "keywords": [], "tools": []}
    return match.model_copy(update={"server": match.server.model_copy(update=unneeded)})
