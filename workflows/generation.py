"""Writing a configuration: drafts, the likeliest first, until one holds what is asked of it."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from temporalio import workflow

from activities.generation import GenerationActivities
from activities.known import KnownActivities
from mcp_platform.contracts.checks import PackageFinding, TrialOrder, TrialOutcome, TrialReport
from mcp_platform.contracts.evidence import SourceKind
from mcp_platform.contracts.generation import (
    MOST_DRAFTS,
    MOST_REPAIRS,
    Answer,
    Checked,
    Conclusion,
    Draft,
    DraftKnown,
    Failure,
    GenerationOrder,
    Question,
    Result,
    Tried,
    Understood,
)
from mcp_platform.contracts.known import FindOrder, KnownMatch
from mcp_platform.contracts.models import EngineChoice, ModelOrder
from mcp_platform.contracts.tasks import TaskStatus
from workflows.checks import Shown, look_up, try_server
from workflows.models import ask_model
from workflows.policies import FETCHING, READING, THOUGHTFUL
from workflows.tasks import TaskWorkflow

_MATCHES: Final = 5
_PLAUSIBLE: Final = 0.42
"""From which score on rules alone take a known server that is not certain to be meant: one that merely
resembles the request has 0.4 at most."""
_AS_GOOD: Final = 0.05
"""How much worse a certain match may be than the best and still take its place."""
_PACKAGES: Final = 5
_SERVERS: Final = 3
"""Of one draft, how many are looked up and tried."""
_FIRST_NUMBER: Final = 100
"""Numbers below belong to drafts of the source itself."""


@workflow.defn(name="analysis.generation")
class GenerationWorkflow(TaskWorkflow):
    """Read what is asked, find what is known, draft, check, try; repair, or take the next."""

    def __init__(self) -> None:
        super().__init__()
        self._matches: list[KnownMatch] = []
        self._failures: list[Failure] = []
        self._doubtful: Result | None = None
        self._no_model: str | None = None
        self._number = _FIRST_NUMBER

    @workflow.run
    async def run(self, order: GenerationOrder) -> TaskStatus:
        """Answer with the final status, whose result is a `Generated`."""
        return await self._carry_out(lambda: self._steps(order))

    async def _steps(self, order: GenerationOrder) -> dict[str, Any]:
        understood = await self._read(order)
        self._advance(20, "Looking for known servers")
        looking = FindOrder(text=understood.text, owner_id=order.owner_id, limit=_MATCHES)
        if understood.text:
            found = await workflow.execute_activity_method(KnownActivities.find, looking, **READING)
            self._matches = found.matches
        result = await self._first_that_holds(order, understood) or self._doubtful
        self._advance(95, "Putting the result together")
        conclusion = Conclusion(
            order=order,
            result=result,
            text=understood.text,
            matches=self._matches,
            failures=self._failures,
            notes=understood.notes,
            no_model=self._no_model,
        )
        generated = await workflow.execute_activity_method(
            GenerationActivities.conclude, conclusion, **READING
        )
        return generated.model_dump(mode="json")

    async def _read(self, order: GenerationOrder) -> Understood:
        if order.source == "repository":
            self._advance(5, "Fetching the repository")
            return await workflow.execute_activity_method(
                GenerationActivities.read_repository, order, **FETCHING
            )
        self._advance(5, "Reading what is asked")
        return await workflow.execute_activity_method(GenerationActivities.read, order, **THOUGHTFUL)

    async def _first_that_holds(self, order: GenerationOrder, understood: Understood) -> Result | None:
        async with aclosing(self._drafts(order, understood)) as drafts:
            count = 0
            async for draft in drafts:
                self._advance(30 + 12 * count, f"Checking {draft.label}"[:200])
                held = await self._examine(order, draft, 30 + 12 * count)
                count += 1
                if isinstance(held, Result):
                    return held
                self._failures.append(Failure(draft=draft, reason=held))
                if count == MOST_DRAFTS:
                    break
        return None

    async def _drafts(self, order: GenerationOrder, understood: Understood) -> AsyncGenerator[Draft, None]:
        """Give one draft after the other: what the source says, what is known, what a model makes of it."""
        for draft in understood.drafts:
            yield draft
        if order.source == "openapi":
            return
        sure = [match for match in self._matches if match.sure] if order.source == "words" else []
        for match in sure:
            if match.score >= sure[0].score - _AS_GOOD:
                yield await self._known(order, match)
        if self._doubtful is not None:
            # It is what was asked for, and does not start here: nothing that a model writes changes that.
            return
        if order.engine is EngineChoice.AUTO:
            async with aclosing(self._asked(order)) as answers:
                async for draft in answers:
                    yield draft
        else:
            self._no_model = "the request says engine: rules"
        likely = [match for match in self._matches if match.score >= _PLAUSIBLE and not match.sure]
        if order.source == "words" and not sure and likely:
            yield await self._known(order, likely[0])

    async def _known(self, order: GenerationOrder, match: KnownMatch) -> Draft:
        wanted = DraftKnown(task_id=order.task_id, number=self._next(), match=match)
        return await workflow.execute_activity_method(GenerationActivities.draft_known, wanted, **READING)

    async def _asked(self, order: GenerationOrder) -> AsyncGenerator[Draft, None]:
        """Give a model's drafts, each of them knowing what was wrong with the one before."""
        failure: Failure | None = None
        for _ in range(1 + MOST_REPAIRS):
            number = self._next()
            question = Question(task_id=order.task_id, number=number, matches=self._matches, failure=failure)
            self._advance(self._status.progress, "Asking a language model, where one is configured")
            key = await workflow.execute_activity_method(GenerationActivities.ask, question, **READING)
            asked = ModelOrder(
                task_id=order.task_id, owner_id=order.owner_id, prompt="generate-config", input_key=key
            )
            outcome = await ask_model(asked)
            if outcome.answer is None:
                self._no_model = outcome.reason or "none answered"
                return
            answer = Answer(
                task_id=order.task_id,
                number=number,
                answer=outcome.answer,
                model=outcome.model or "unknown",
                matches=self._matches,
            )
            yield await workflow.execute_activity_method(GenerationActivities.draft_answer, answer, **READING)
            # Whoever takes the drafts asks for another one only when this one failed.
            failure = self._failures[-1]

    async def _examine(self, order: GenerationOrder, draft: Draft, progress: int) -> Result | str:
        """Check a draft, and try it; gives what it failed by, where it did."""
        if draft.problem is not None:
            return draft.problem
        checked = await workflow.execute_activity_method(GenerationActivities.check, draft, **THOUGHTFUL)
        if checked.problem is not None:
            return checked.problem
        packages = [await look_up(question) for question in checked.packages[:_PACKAGES]]
        for finding, question in zip(packages, checked.packages, strict=False):
            if missing := _missing(finding, question.version):
                return missing
        result = Result(draft=draft, packages=packages)
        if not order.try_it:
            return result
        trials = await self._trials(order, draft, checked, progress + 6)
        result = result.model_copy(update={"trials": trials})
        reason = next(
            (_reason(trial) for trial in trials if trial.report.outcome is TrialOutcome.FAILED), None
        )
        return result if reason is None else self._weigh(result, reason)

    async def _trials(
        self, order: GenerationOrder, draft: Draft, checked: Checked, progress: int
    ) -> list[Tried]:
        trials = []
        tried = checked.servers[:_SERVERS]
        share = 6 // max(len(tried), 1)
        for number, server in enumerate(tried):
            first = progress + share * number
            report = await try_server(
                TrialOrder(
                    task_id=order.task_id,
                    owner_id=order.owner_id,
                    draft_key=draft.key,
                    server=server,
                    call=draft.call if len(checked.servers) == 1 else None,
                    # None of it was written by who asks, so that nobody's right to run commands applies.
                    trusted=draft.trusted,
                ),
                Shown(self._advance, draft.label, first, first + share),
            )
            tools = [str(tool.get("name", "")) for tool in report.tools]
            # The definitions are in the history once; what follows needs their names.
            short = report.model_copy(update={"tools": []})
            trials.append(Tried(server=server, report=short, tools=tools))
        for server in checked.servers[_SERVERS:]:
            reason = f"only the first {_SERVERS} servers of a configuration are tried"
            report = TrialReport(outcome=TrialOutcome.NOT_TRIED, reason=reason)
            trials.append(Tried(server=server, report=report))
        return trials

    def _weigh(self, result: Result, reason: str) -> str:
        """Tell a failed trial that speaks against a draft from one that says little of it.

        What the catalogue says is right wherever else it starts, and an API is as its document says; a
        server without its secrets may refuse to start. Such a draft is told where no other one holds.
        """
        blank = sorted({name for trial in result.trials for name in trial.report.placeholders})
        unknown = [package.name for package in result.packages if package.exists is None]
        draft = result.draft
        right = draft.shipped or draft.out_of_reach or draft.origin is SourceKind.REQUEST
        if not (right or blank or unknown):
            return reason
        if unknown:
            reason = f"{reason} (its registry cannot be reached: {', '.join(unknown)})"
        self._doubtful = self._doubtful or result.model_copy(update={"inconclusive": reason})
        return reason

    def _next(self) -> int:
        self._number += 1
        return self._number


def _missing(finding: PackageFinding, version: str | None) -> str | None:
    """Say what a registry does not have of what a draft runs."""
    if finding.exists is False:
        return f"{finding.registry} has no package {finding.name}"
    if finding.exists and version is not None and finding.version is None:
        latest = f"; its latest is {finding.latest}" if finding.latest else ""
        return f"{finding.registry} has no version {version} of {finding.name}{latest}"
    return None


def _reason(trial: Tried) -> str:
    said = trial.report.reason or "it failed"
    lines = [line for line in trial.report.stderr_tail if line.strip() and not line.startswith("runner: ")]
    tail = lines[-3:]
    return f"{said}; it wrote: {' | '.join(tail)}"[:1000] if tail else said
