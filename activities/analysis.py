"""Judging ideas: understand, look around, judge, hear a model."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import UUID

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.feasibility_rules import (
    Case,
    count_words,
    find_capabilities,
    has_config,
    important_words,
    included_config,
    model_input,
    packages_of,
    read_idea,
    search_text,
    with_opinion,
    without_credentials,
)
from activities.heartbeat import beating
from mcp_platform.contracts.analysis import (
    Feasibility,
    FoundDocument,
    Idea,
    IdeaFacts,
    JudgeOrder,
    KnownMcps,
    OpinionOrder,
    SearchOrder,
    SimilarMcp,
)
from mcp_platform.contracts.mcps import McpConfig, McpFilter
from mcp_platform.errors import Unavailable
from mcp_platform.known_servers import is_trusted
from mcp_platform.names import KNOWLEDGE_SEARCH, Collection

if TYPE_CHECKING:
    from storage.stores import Stores

_SIMILAR_LIMIT: Final = 5
_WORDS_SEARCHED: Final = 10
_LOOKED_AT: Final = 50
"""MCPs that have a word, of which the newest are looked at."""
_ALIKE: Final = 0.3
"""The share of an idea's words that an MCP has to have, weighed, to be told of."""
_TRIED: Final = 3
"""Servers of one configuration that are tried."""
_DOCUMENTS: Final = 3
_KNOWLEDGE_FLOOR: Final = 0.35
_KNOWLEDGE_PATIENCE: Final = 5.0


class Analyst(Protocol):
    """Whoever judges an idea by everything that was found out."""

    async def judge(self, case: Case) -> Feasibility:
        """Give the verdict; the same case gives the same verdict."""
        ...


class AnalysisActivities:
    """The steps of an analysis; each may be repeated."""

    def __init__(self, stores: Stores, analyst: Analyst) -> None:
        self._stores = stores
        self._analyst = analyst

    @activity.defn(name="analysis.understand")
    async def understand(self, idea_key: str) -> IdeaFacts:
        """Tell what the idea wants to do, in the terms of the rules; keep its configuration for trials."""
        body = await self._body(idea_key)
        # Long texts take the rules a while, and others wait in this loop.
        facts, draft = await asyncio.to_thread(lambda: understood(idea_key, read_idea(body)))
        facts = facts.model_copy(update={"from_words": not has_config(body)})
        if facts.draft_key is not None:
            await self._stores.documents.put(Collection.DRAFTS, facts.draft_key, draft)
        return facts

    @activity.defn(name="analysis.find_known")
    async def find_known(self, idea_key: str) -> KnownMcps:
        """Find registered MCPs for analyses that began before documents were searched too."""
        idea = await self._idea(idea_key)
        return _known(await self._similar(SearchOrder(text=f"{idea.name} {idea.description}")))

    @activity.defn(name="analysis.search")
    async def search(self, order: SearchOrder) -> KnownMcps:
        """Find registered MCPs and documents that the text is about, likest first."""
        known = _known(await self._similar(order) if order.reads_mcps else [])
        if not order.reads_knowledge or not order.text.strip():
            return known
        try:
            documents = await self._documents(order.text)
        except Unavailable as error:
            warning = f"The knowledge base was not searched: {error}"
            return known.model_copy(update={"warnings": [warning]})
        return known.model_copy(update={"documents": documents})

    @activity.defn(name="analysis.judge")
    async def judge(self, order: JudgeOrder) -> Feasibility:
        """Give the verdict of the rules; write down what a model is told, where one will be asked."""
        async with beating():
            idea = await self._idea(order.idea_key)
            case = Case(
                idea=idea,
                facts=order.facts,
                known=order.known,
                matches=order.matches,
                packages=order.packages,
                trials=order.trials,
                warnings=order.warnings,
            )
            verdict = await self._analyst.judge(case)
            if order.input_key is not None:
                told = (await asyncio.to_thread(model_input, case, verdict)).model_dump(mode="json")
                await self._stores.documents.put(Collection.MODEL_INPUTS, order.input_key, told)
            return verdict

    @activity.defn(name="analysis.hear")
    async def hear(self, order: OpinionOrder) -> Feasibility:
        """Add a model's opinion to the verdict of the rules, none of whose findings it takes away."""
        return with_opinion(order.verdict, order.outcome)

    async def _idea(self, key: str) -> Idea:
        return await asyncio.to_thread(read_idea, await self._body(key))

    async def _body(self, key: str) -> dict[str, Any]:
        body: dict[str, Any] | None = await self._stores.documents.get(Collection.IDEAS, key)
        if body is None:
            raise ApplicationError(f"the idea {key} is gone", type="IdeaMissing", non_retryable=True)
        return body

    async def _similar(self, order: SearchOrder) -> list[SimilarMcp]:
        """Weigh by how rare each word is here: one that every MCP has tells nothing."""
        words = important_words(order.text)[:_WORDS_SEARCHED]
        scores: dict[UUID, float] = {}
        found: dict[UUID, tuple[str, str]] = {}
        whole = 0.0
        async with self._stores.read() as rows:
            total = (await rows.mcps.list(page=1, page_size=1)).total
            for word in words:
                page = await rows.mcps.list(McpFilter(search=word), page=1, page_size=_LOOKED_AT)
                weight = math.log(1 + (total + 1) / (page.total + 1))
                whole += weight
                for mcp in page.items:
                    if mcp.id != order.of_mcp:
                        scores[mcp.id] = scores.get(mcp.id, 0.0) + weight
                        found[mcp.id] = (mcp.slug, mcp.name)
        alike = [
            SimilarMcp(slug=found[mcp_id][0], name=found[mcp_id][1], score=round(score / whole, 4))
            for mcp_id, score in scores.items()
            if score / whole >= _ALIKE
        ]
        return sorted(alike, key=lambda mcp: (-mcp.score, mcp.slug))[:_SIMILAR_LIMIT]

    async def _documents(self, text: str) -> list[FoundDocument]:
        """Ask a process that has the index of the knowledge base in memory."""
        question = {"query": text, "limit": _DOCUMENTS}
        answer = await self._stores.questions.ask(KNOWLEDGE_SEARCH, question, _KNOWLEDGE_PATIENCE)
        documents = [FoundDocument.model_validate(each) for each in answer["documents"]]
        return [document for document in documents if document.score >= _KNOWLEDGE_FLOOR]


def understood(idea_key: str, idea: Idea) -> tuple[IdeaFacts, dict[str, Any]]:
    """Give the facts of an idea, and the configuration that its servers may be tried with."""
    included = included_config(idea)
    config = included.config
    packages = packages_of(idea, config)
    tried, warnings = _to_try(config)
    facts = IdeaFacts(
        idea_key=idea_key,
        capabilities=find_capabilities(idea),
        servers=[server.kind for server in config.servers],
        problems=included.problems,
        words=count_words(idea.description),
        packages=packages,
        draft_key=f"{idea_key}/judged" if tried else None,
        to_try=tried,
        trusted=[server.name for server in config.servers if server.name in tried and is_trusted(server)],
        search_text=search_text(idea, packages),
        warnings=warnings,
    )
    return facts, without_credentials(config)


def _to_try(config: McpConfig) -> tuple[list[str], list[str]]:
    names = [server.name for server in config.servers]
    few = [f"Only the first {_TRIED} of {len(names)} servers are tried"] if len(names) > _TRIED else []
    return names[:_TRIED], few


def _known(mcps: list[SimilarMcp]) -> KnownMcps:
    return KnownMcps(similar=[f"{mcp.slug}: {mcp.name}" for mcp in mcps], mcps=mcps)
