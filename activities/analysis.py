"""Judging ideas: understand, look around, judge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.feasibility_rules import (
    count_words,
    find_capabilities,
    important_words,
    problems_of,
    server_kinds,
)
from activities.heartbeat import beating
from mcp_platform.contracts.analysis import Feasibility, Idea, IdeaFacts, JudgeOrder, KnownMcps
from mcp_platform.contracts.mcps import McpFilter
from mcp_platform.names import Collection

if TYPE_CHECKING:
    from storage.stores import Stores

_SIMILAR_LIMIT = 5
_WORDS_SEARCHED = 6


class Analyst(Protocol):
    """Whoever judges an idea: rules, or a model."""

    async def judge(self, idea: Idea, facts: IdeaFacts, known: KnownMcps) -> Feasibility:
        """Give the verdict; the same input gives the same verdict from the rules."""
        ...


class AnalysisActivities:
    """The steps of an analysis."""

    def __init__(self, stores: Stores, analyst: Analyst) -> None:
        self._stores = stores
        self._analyst = analyst

    @activity.defn(name="analysis.understand")
    async def understand(self, idea_key: str) -> IdeaFacts:
        """Tell what the idea wants to do, in the terms of the rules."""
        idea = await self._idea(idea_key)
        return IdeaFacts(
            idea_key=idea_key,
            capabilities=find_capabilities(idea),
            servers=server_kinds(idea),
            problems=problems_of(idea),
            words=count_words(idea.description),
        )

    @activity.defn(name="analysis.find_known")
    async def find_known(self, idea_key: str) -> KnownMcps:
        """Find registered MCPs that share the idea's important words, likest first."""
        idea = await self._idea(idea_key)
        matches: dict[str, int] = {}
        async with self._stores.read() as rows:
            for word in important_words(idea)[:_WORDS_SEARCHED]:
                page = await rows.mcps.list(McpFilter(search=word), page=1, page_size=20)
                for mcp in page.items:
                    label = f"{mcp.slug}: {mcp.name}"
                    matches[label] = matches.get(label, 0) + 1
        likest = sorted(matches, key=lambda label: (-matches[label], label))
        return KnownMcps(similar=[label for label in likest if matches[label] > 1][:_SIMILAR_LIMIT])

    @activity.defn(name="analysis.judge")
    async def judge(self, order: JudgeOrder) -> Feasibility:
        """Give the verdict of the analyst that the worker was given."""
        async with beating():
            return await self._analyst.judge(await self._idea(order.idea_key), order.facts, order.known)

    async def _idea(self, key: str) -> Idea:
        body: dict[str, Any] | None = await self._stores.documents.get(Collection.IDEAS, key)
        if body is None:
            raise ApplicationError(f"the idea {key} is gone", type="IdeaMissing", non_retryable=True)
        return Idea.model_validate(body)
