"""The rules together: the same facts give the same suggestions and the same score."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

import structlog

from activities.improvements.definitions import definition_findings
from activities.improvements.deployed import deployment_findings
from activities.improvements.facts import Facts, Finding
from activities.improvements.figures import together_findings, usage_findings
from activities.improvements.servers import server_findings
from activities.improvements.texts import listed
from mcp_platform.config_patches import DoesNotFit, patched
from mcp_platform.contracts.improvements import Severity, Suggestion

logger = structlog.get_logger(__name__)

_COSTS: Final = {Severity.HIGH: 20, Severity.MEDIUM: 8, Severity.LOW: 3, Severity.INFO: 0}
"""Hundredths of the score."""
_MOST_OF_ONE: Final = {Severity.HIGH: 80, Severity.MEDIUM: 40, Severity.LOW: 20, Severity.INFO: 0}
_ORDER: Final = [Severity.HIGH, Severity.MEDIUM, Severity.LOW, Severity.INFO]
_MOST: Final = 200
_RULES: Final = (
    server_findings,
    definition_findings,
    together_findings,
    usage_findings,
    deployment_findings,
)


def suggestions_of(facts: Facts) -> list[Suggestion]:
    """Give what the rules find, what matters most first."""
    found: dict[str, Suggestion] = {}
    for finding in _together(each for rules in _RULES for each in rules(facts)):
        suggestion = finding.suggestion(_number(finding))
        found.setdefault(suggestion.id, _with_good_patch(suggestion, facts))
    return sorted(found.values(), key=lambda each: (_ORDER.index(each.severity), each.category, each.id))[
        :_MOST
    ]


def score_of(suggestions: list[Suggestion]) -> float:
    """Give what the suggestions leave of 1.

    Each more of a severity costs less than the one before, so that many small ones weigh less than one large
    one and yet not nothing.
    """
    counts = Counter(each.severity for each in suggestions)
    lost = sum(
        most * (1 - (1 - _COSTS[kind] / most) ** counts[kind]) for kind, most in _MOST_OF_ONE.items() if most
    )
    return round(max(0.0, 100 - lost) / 100, 2)


def summary_of(suggestions: list[Suggestion]) -> str:
    """Say in a sentence what was found."""
    if not suggestions:
        return "Nothing to improve was found in what could be looked at."
    counts = Counter(each.severity for each in suggestions)
    parts = ", ".join(f"{counts[kind]} {kind}" for kind in _ORDER if counts[kind])
    number = f"{len(suggestions)} suggestions" if len(suggestions) > 1 else "One suggestion"
    return f"{number} ({parts}); first: {suggestions[0].title}."


def _together(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Give findings of the same kind over several tools as one."""
    kinds: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.shared is None:
            yield finding
        else:
            kinds.setdefault(finding.rule, []).append(finding)
    for same in kinds.values():
        first, shared = same[0], same[0].shared
        targets = list(dict.fromkeys(each.target for each in same))
        if shared is None or len(targets) == 1:
            yield from same
            continue
        title, reason = shared
        yield replace(
            first,
            target="mcp",
            title=title.format(len(targets)),
            reason=f"{reason}: {listed([target.removeprefix('tool:') for target in targets])}.",
            evidence=[evidence for each in same for evidence in each.evidence],
        )


def _number(finding: Finding) -> str:
    """Give an id; of what may be told of several tools together the same, however many they are."""
    target = finding.target if finding.shared is None else "tools"
    digest = hashlib.sha256(f"{finding.rule}\0{target}".encode(errors="replace")).hexdigest()[:8]
    return f"{''.join(each if each.isalnum() else '-' for each in finding.rule.lower())[:80]}-{digest}"


def _with_good_patch(suggestion: Suggestion, facts: Facts) -> Suggestion:
    """Give a suggestion without its patch where that would leave no valid configuration."""
    if suggestion.patch is None:
        return suggestion
    try:
        patched(facts.raw, suggestion.patch)
    except DoesNotFit as reason:
        logger.warning("suggestion_without_patch", suggestion=suggestion.id, reason=str(reason))
        return suggestion.model_copy(update={"patch": None})
    return suggestion
