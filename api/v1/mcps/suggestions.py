"""Applying what an analysis suggested: the suggestion's patch, as a new version."""

from fastapi import APIRouter, Response

from api.dependencies import PartsDep
from api.parts import Parts
from api.v1.mcps.entries import McpChanged
from api.v1.mcps.importing import unknown_names
from api.v1.mcps.lookup import IfMatch, McpId, Writer, check_unchanged, etag, find_own_mcp
from mcp_platform.config_patches import DoesNotFit, Patch, patched, still_fits
from mcp_platform.contracts.access import Principal
from mcp_platform.contracts.improvements import ApplySuggestion, Improvements, Suggestion
from mcp_platform.contracts.mcps import Mcp, McpConfig, UpdateMcp
from mcp_platform.contracts.tasks import TaskKind, TaskState
from mcp_platform.errors import Conflict, NotFound, ValidationFailed
from mcp_platform.names import Collection
from storage.registration import read_config, revise

router = APIRouter(prefix="/mcps", tags=["MCPs"])


class SuggestionApplied(McpChanged):
    """Answer to a suggestion that was applied."""

    unknown: list[str]
    """Names that the configuration refers to and that are stored nowhere: with these it does not start."""


@router.post("/{mcp_id:uuid}/apply-suggestion")
async def apply_suggestion(
    mcp_id: McpId,
    order: ApplySuggestion,
    caller: Writer,
    parts: PartsDep,
    response: Response,
    if_match: IfMatch = None,
) -> SuggestionApplied:
    """Apply the patch of a suggestion that `POST /analyze/improvements` made, as a new version.

    If the configuration was changed since so that the patch does not fit, the answer is 409.
    """
    mcp = await find_own_mcp(parts, mcp_id, caller)
    check_unchanged(mcp, if_match)
    found = await _improvements(parts, order.task_id, caller)
    if found.tool_id != mcp.id:
        raise ValidationFailed.at(("body", "task_id"), "is an analysis of another MCP")
    suggestion = _suggestion(found, order.suggestion_id)
    if suggestion.patch is None:
        reason = "has no patch: it is no matter of the configuration, or nobody but a person can word it"
        raise ValidationFailed.at(("body", "suggestion_id"), reason)
    config = await _config(parts, mcp, found, suggestion.patch)
    changed = await revise(
        parts.stores, mcp, UpdateMcp(config=config), caller.user_id, origin=f"task:{order.task_id}"
    )
    response.headers["ETag"] = etag(changed)
    unknown = await unknown_names(parts, config.model_dump(mode="json"), caller)
    return SuggestionApplied.model_validate(changed.model_dump() | {"unknown": unknown})


async def _improvements(parts: Parts, task_id: str, caller: Principal) -> Improvements:
    task = await parts.tasks.authorise(task_id, caller)
    if task.kind is not TaskKind.IMPROVEMENTS:
        raise ValidationFailed.at(("body", "task_id"), "is no analysis of improvements")
    if task.status is not TaskState.COMPLETED or task.result_key is None:
        raise Conflict(
            f"The analysis has no suggestions to apply: it is {task.status}",
            resource_type="task",
            resource_id=task_id,
        )
    body = await parts.stores.documents.get(Collection.RESULTS, task.result_key)
    if body is None:
        raise NotFound("task_result", task_id)
    return Improvements.model_validate(body)


def _suggestion(found: Improvements, suggestion_id: str) -> Suggestion:
    for suggestion in found.suggestions:
        if suggestion.id == suggestion_id:
            return suggestion
    raise NotFound("suggestion", suggestion_id, "The analysis has no suggestion of this id")


async def _config(parts: Parts, mcp: Mcp, found: Improvements, patch: Patch) -> McpConfig:
    """Give the configuration that comes of the patch.

    Raises:
        Conflict: It was made for a configuration that is not the present one, and does not fit this one.
    """
    now = await read_config(parts.stores, mcp.config_key)
    before = now
    if mcp.config_key != found.config_key:
        before = await read_config(parts.stores, found.config_key)
    reason = "what the suggestion is about was changed"
    try:
        if still_fits(patch, before, now):
            return patched(now, patch)
    except DoesNotFit as misfit:
        reason = str(misfit)
    raise Conflict(
        f"The configuration was changed since it was looked at, and the suggestion does not fit it: {reason};"
        " have the MCP looked at again",
        resource_type="mcp_tool",
        resource_id=str(mcp.id),
        version=mcp.version,
    )
