"""The texts of comments: what strangers wrote stands in them as code, and does nothing."""

from typing import Final

from activities.github_sync.markdown import code, fenced
from mcp_platform.contracts.merging import (
    ChangeKind,
    CheckPlan,
    CheckVerdict,
    DeployedMcp,
    DeployNote,
    DeployOutcome,
    DeployReport,
)

_LONGEST_TEXT: Final = 4_000
_SHOWN: Final = 6
_WORDS: Final = {
    DeployOutcome.DEPLOYED: "is deployed",
    DeployOutcome.NOT_FEASIBLE: "was judged not feasible, and is not deployed",
    DeployOutcome.ROLLED_BACK: "did not become healthy and was rolled back; what ran before serves on",
    DeployOutcome.FAILED: "could not be deployed",
}


def in_short(note: DeployNote) -> str:
    """Say in a line how a deployment stands."""
    if note.report is None:
        return "What this commit changed is being deployed"
    failed = [each for each in note.report.mcps if each.outcome is not DeployOutcome.DEPLOYED]
    count = len(note.report.mcps)
    if not failed:
        return f"{count} {'MCP is' if count == 1 else 'MCPs are'} deployed"
    return f"{len(failed)} of {count} not deployed: {', '.join(each.slug for each in failed)}"


def deploy_comment(report: DeployReport) -> str:
    """Say what became of the MCPs of a commit."""
    failed = any(each.outcome is not DeployOutcome.DEPLOYED for each in report.mcps)
    title = "### Not all of this commit is deployed" if failed else "### This commit is deployed"
    return "\n\n".join([title, *(_deployed(each) for each in report.mcps)])


def _deployed(mcp: DeployedMcp) -> str:
    revision = f" (revision {mcp.revision})" if mcp.revision else ""
    name = f"**{mcp.slug}** {mcp.version}" if mcp.slug else f"The MCP {mcp.mcp_id}"
    line = f"{name} {_WORDS[mcp.outcome]}{revision}."
    return f"{line}\n\n{fenced(mcp.reason, 'text', _LONGEST_TEXT)}" if mcp.reason else line


def check_comment(plan: CheckPlan, verdicts: list[CheckVerdict]) -> tuple[str, str, str]:
    """Give the status, what it says in a line, and the comment of a check."""
    by_place = {each.place: each for each in verdicts}
    bad = 0
    parts: list[str] = []
    for place, definition in enumerate(plan.definitions):
        verdict = by_place.get(place)
        bad += definition.kind is ChangeKind.REFUSED or (verdict is not None and verdict.feasible is False)
        parts.append(_checked(plan, place, verdict))
    if plan.more:
        parts.append(f"{plan.more} more definitions are changed; a check judges {len(plan.definitions)}.")
    count = len(plan.definitions)
    described = f"{bad} of {count} changed definitions are refused or not feasible" if bad else ""
    described = described or f"{count} changed {'definition' if count == 1 else 'definitions'} checked"
    title = "### MCP definitions of this pull request"
    if not plan.definitions:
        parts = ["It changes no definition (any more)."]
    head = f"At {code(plan.head)}. Nothing of it was started."
    return "failure" if bad else "success", described, "\n\n".join([title, head, *parts])


def _checked(plan: CheckPlan, place: int, verdict: CheckVerdict | None) -> str:
    definition = plan.definitions[place]
    where = f"{definition.path}#{definition.entry}" if definition.entry else definition.path
    lines = [f"#### {code(definition.slug or where)}: {definition.kind}", f"In {code(where)}."]
    if definition.reason:
        lines.append(fenced(definition.reason, "text", _LONGEST_TEXT))
    if verdict is not None:
        lines += _verdict(verdict)
    if definition.differences:
        shown = "\n".join(definition.differences)
        lines.append(f"What differs:\n\n{fenced(shown, 'diff', _LONGEST_TEXT)}")
    return "\n\n".join(lines)


def _verdict(verdict: CheckVerdict) -> list[str]:
    if verdict.reason is not None:
        return [f"It could not be judged: {code(verdict.reason)}"]
    word = "feasible" if verdict.feasible else "**not feasible**"
    lines = [f"Judged by {verdict.engine}: {word}, score {verdict.score:.2f}."]
    if verdict.reasoning:
        lines.append(fenced(verdict.reasoning, "text", _LONGEST_TEXT))
    for title, texts in (("Risks", verdict.risks), ("Recommendations", verdict.recommendations)):
        if texts:
            lines.append(f"{title}:\n" + "\n".join(f"- {code(text)}" for text in texts[:_SHOWN]))
    return lines
