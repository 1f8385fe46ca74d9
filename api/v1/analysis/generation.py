"""`/api/v1/analyze/generate-config`: configurations from words, OpenAPI documents and repositories."""

from typing import Literal

from fastapi import APIRouter, status

from activities.generation.words import search_text
from api.dependencies import PartsDep
from api.parts import Parts
from api.v1.analysis.asking import Analyser, start_analysis
from api.v1.tasks import TaskAccepted
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.generation import Background, GenerateConfig, GenerationOrder, Wish
from mcp_platform.contracts.knowledge import SearchKnowledge
from mcp_platform.contracts.models import EngineChoice
from mcp_platform.contracts.tasks import TaskKind
from mcp_platform.errors import Unavailable
from workflows.generation import GenerationWorkflow

router = APIRouter(prefix="/analyze", tags=["Analysis"])

_PASSAGES = 3
_LONGEST_QUERY = 1_000
_LONGEST_PASSAGE = 2_000


@router.post("/generate-config", status_code=status.HTTP_202_ACCEPTED)
async def generate_config(order: GenerateConfig, caller: Analyser, parts: PartsDep) -> TaskAccepted:
    """Start writing a configuration; the result is read from the task, and registered from it."""
    wish = Wish.model_validate(order.model_dump(exclude={"engine", "try_it"}))
    wish = wish.model_copy(update={"background": await _background(parts, caller, search_text(wish))})
    source: Literal["words", "openapi", "repository"] = "words"
    if order.openapi is not None:
        source = "openapi"
    elif order.repository_url is not None:
        source = "repository"
    return await start_analysis(
        parts,
        caller,
        TaskKind.GENERATION,
        wish.model_dump(mode="json"),
        GenerationWorkflow.run,
        lambda task_id: GenerationOrder(
            task_id=task_id,
            owner_id=caller.user_id,
            source=source,
            engine=order.engine,
            try_it=order.try_it,
            reads_connected=Permission.GITHUB_READ in caller.permissions,
        ),
        "Configuration generation queued for processing",
        # A document is read by rules alone, whoever may be asked.
        EngineChoice.RULES if source == "openapi" else order.engine,
    )


async def _background(parts: Parts, caller: Principal, text: str) -> list[Background]:
    """Find what the knowledge base has about a request; a base that is away is no reason to stop."""
    query = text.replace("\x00", " ")[:_LONGEST_QUERY].strip()
    if not query or Permission.KNOWLEDGE_READ not in caller.permissions:
        return []
    try:
        answer = await parts.knowledge.search(SearchKnowledge(query=query, limit=_PASSAGES))
    except Unavailable:
        return []
    return [
        Background(document_id=each.document_id, title=each.title, text=each.text[:_LONGEST_PASSAGE])
        for each, _score in answer.found
    ]
