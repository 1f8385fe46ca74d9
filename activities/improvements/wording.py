"""What a model is told of an MCP, and what its answer adds to the findings of the rules."""

import json
from typing import Any, Final

from activities.improvements.facts import Facts, Tool
from activities.improvements.rules import score_of, summary_of
from activities.improvements.texts import short
from mcp_platform.config_patches import DoesNotFit, Patch, patched, pointer
from mcp_platform.contracts.evidence import Evidence, SourceKind
from mcp_platform.contracts.improvements import (
    Category,
    Improvements,
    ImprovementWording,
    Remark,
    Severity,
    Suggestion,
    Wording,
)
from mcp_platform.contracts.models import ModelInput

_MOST_TOOLS: Final = 60
_LONGEST_DEFINITION: Final = 3_000
_WORDED: Final = frozenset({"missing-description", "unclear-description"})


def told(facts: Facts, found: Improvements) -> ModelInput:
    """Give what a model is told: the tools, and what the rules found."""
    return ModelInput(
        sections={
            "mcp": {"name": facts.mcp.name, "description": facts.mcp.description},
            "tools": [_shown(tool) for tool in facts.tools[:_MOST_TOOLS]],
            "findings": [
                {"title": each.title, "target": each.target, "severity": each.severity, "reason": each.reason}
                for each in found.suggestions[:_MOST_TOOLS]
            ],
        }
    )


def _shown(tool: Tool) -> dict[str, Any]:
    schema = tool.definition.get("inputSchema")
    if len(json.dumps(schema)) > _LONGEST_DEFINITION:
        schema = {"properties": sorted(tool.properties)}
    return {
        "name": tool.name,
        "description": str(tool.definition.get("description") or "")[:_LONGEST_DEFINITION],
        "parameters": schema,
    }


def with_wording(
    found: Improvements,
    answer: ImprovementWording,
    places: dict[str, int | None],
    raw: dict[str, Any],
    model: str,
) -> Improvements:
    """Add what a model says; no finding of the rules is taken away.

    Args:
        found: What the rules found.
        answer: What the model says.
        places: The tools that were seen, with where in the configuration each is defined.
        raw: The configuration.
        model: Who says it.
    """
    suggestions = {each.id: each for each in found.suggestions}
    for wording in answer.wordings:
        if wording.tool in places:
            worded = _worded(suggestions, wording, places[wording.tool], raw, model)
            suggestions[worded.id] = worded
    remarks = (
        _remarked(f"model-{place + 1}", each, places, model) for place, each in enumerate(answer.remarks)
    )
    suggestions |= {one.id: one for one in remarks}
    given = list(suggestions.values())
    return found.model_copy(
        update={
            "engine": "model",
            "suggestions": given,
            "score": score_of(given),
            "summary": f"{summary_of(given)} {short(answer.summary, 1_000)}",
        }
    )


def _remarked(number: str, remark: Remark, places: dict[str, int | None], model: str) -> Suggestion:
    return Suggestion(
        id=number,
        title=short(remark.title),
        severity=Severity(remark.severity),
        category=remark.category,
        reason=short(remark.reason, 1_000),
        evidence=[_said(remark.reason, model)],
        target=remark.target if remark.target in _targets(places) else "config",
    )


def _worded(
    suggestions: dict[str, Suggestion], wording: Wording, place: int | None, raw: dict[str, Any], model: str
) -> Suggestion:
    """Give a tool's suggestion about its description with the words for it; a new one if there is none."""
    target, text = f"tool:{wording.tool}", short(wording.description, 1_000)
    patch = _described(place, text, raw)
    evidence = _said(f"{short(wording.reason, 500)} Suggested: “{text}”", model)
    for known in suggestions.values():
        if known.target == target and known.id.rpartition("-")[0] in _WORDED:
            return known.model_copy(
                update={
                    "reason": f"{known.reason} Suggested: “{text}”",
                    "evidence": [*known.evidence, evidence],
                    "patch": patch,
                }
            )
    return Suggestion(
        id=f"wording-{wording.tool}"[:100],
        title=f"Describe {short(wording.tool, 80)} better",
        severity=Severity.INFO,
        category=Category.DESCRIPTION,
        reason=f"{short(wording.reason, 500)} Suggested: “{text}”",
        evidence=[evidence],
        patch=patch,
        target=target,
    )


def _described(place: int | None, text: str, raw: dict[str, Any]) -> Patch | None:
    """Give the patch, where the configuration is what defines the tool: else its server's author does."""
    if place is None:
        return None
    patch: Patch = [{"op": "add", "path": pointer("tools", place, "description"), "value": text}]
    try:
        patched(raw, patch)
    except DoesNotFit:
        return None
    return patch


def _targets(places: dict[str, int | None]) -> set[str]:
    return {"config", "mcp", "deployment", *(f"tool:{name}" for name in places)}


def _said(statement: str, model: str) -> Evidence:
    return Evidence(statement=short(statement, 1_500), kind=SourceKind.MODEL, source=model)
