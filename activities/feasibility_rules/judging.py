"""The verdict: what was found, weighed and explained.

The score begins at 0.95. Each rule that finds something takes its cost once, however often it finds it; what
speaks for the idea adds. All is counted in hundredths, so that neither order nor repetition changes it.
"""

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Final

from activities.feasibility_rules.findings import Finding, Merit, short
from activities.feasibility_rules.reading import included_config
from activities.feasibility_rules.seen import (
    imitations,
    package_findings,
    package_merits,
    trial_findings,
    trial_merits,
)
from activities.feasibility_rules.servers import config_findings
from activities.feasibility_rules.texts import Text, wished_dangers
from activities.feasibility_rules.wishes import is_reading_only, said_in, wish_findings
from activities.feasibility_rules.words import count_words
from mcp_platform.contracts.analysis import (
    Checks,
    Feasibility,
    Idea,
    IdeaFacts,
    KnownMcps,
    ShownTrial,
    SimilarServer,
    TriedServer,
)
from mcp_platform.contracts.checks import PackageFinding, TrialOutcome
from mcp_platform.contracts.evidence import Evidence, SourceKind
from mcp_platform.contracts.known import KnownMatch

BEST: Final = 95
FEASIBLE: Final = 50
STOPPED: Final = 30
"""What is left at most where something stops the idea."""
_UNDESCRIBED: Final = 50
"""Enough that nothing is called feasible of which nothing is known."""
_BROKEN: Final = 25
_FEW_WORDS: Final = 3
_LIKELY: Final = 0.3
"""The score from which a known server is worth a look."""
MOST_RISKS: Final = 40
MOST_ADVICE: Final = 40
MOST_EVIDENCE: Final = 80
_MOST_TOOLS: Final = 50
_MOST_PROBLEMS: Final = 5


@dataclass(frozen=True)
class Case:
    """Everything that an idea is judged by."""

    idea: Idea
    facts: IdeaFacts
    known: KnownMcps
    matches: list[KnownMatch] = field(default_factory=list)
    packages: list[PackageFinding] = field(default_factory=list)
    """In the order of `facts.packages`."""
    trials: list[TriedServer] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class RuleAnalyst:
    """Judges by rules alone: no model, and the same verdict every time."""

    async def judge(self, case: Case) -> Feasibility:
        """Start from the best score, and subtract the cost of each rule that finds something."""
        # Long texts take a moment, and others wait in this loop.
        return await asyncio.to_thread(self._weigh, case)

    def _weigh(self, case: Case) -> Feasibility:
        findings, merits = _findings(case), _merits(case)
        costs, gains = _costs(findings), _gains(merits)
        stops = _distinct(finding.risk for finding in findings if finding.stop)
        score = min(max(BEST - sum(costs.values()) + sum(gains.values()), 0), 100)
        if stops:
            score = min(score, STOPPED)
        feasible = score >= FEASIBLE and not stops
        evidence = [finding.evidence for finding in findings] + [merit.evidence for merit in merits]
        return Feasibility(
            score=score / 100,
            is_feasible=feasible,
            reasoning=_reasoning(case, costs, gains, score, stops),
            risks=_distinct(finding.risk for finding in findings)[:MOST_RISKS],
            recommendations=_advice(case, findings, merits)[:MOST_ADVICE],
            engine="rules",
            rule_score=score / 100,
            stops=stops[:MOST_RISKS],
            evidence=_without_repeats(evidence)[:MOST_EVIDENCE],
            similar=case.known.mcps,
            known=[_similar(match) for match in case.matches if match.sure or match.score >= _LIKELY],
            checks=Checks(packages=case.packages, trials=[_shown(trial) for trial in case.trials]),
            warnings=_distinct([*case.facts.warnings, *case.known.warnings, *case.warnings, *_untried(case)]),
        )


def _findings(case: Case) -> list[Finding]:
    idea, facts = case.idea, case.facts
    config = included_config(idea).config
    asked = [use.question.version for use in facts.packages]
    fetched = {
        use.server: package.exists
        for use, package in zip(facts.packages, case.packages, strict=False)
        if use.server is not None
    }
    found = [
        *_form(idea, facts),
        *_wished(case),
        *config_findings(config, facts.packages),
        *_kinds(facts),
        *package_findings(case.packages, asked),
        *imitations(case.packages, case.matches),
        *trial_findings(case.trials, config, fetched, is_reading_only(idea)),
    ]
    # What stops is read first; all else stays in the order of the rules.
    return sorted(found, key=lambda finding: not finding.stop)


def _wished(case: Case) -> list[Finding]:
    """Find what speaks against the wish itself, whoever does it."""
    said = Text(said_in(case.idea), SourceKind.REQUEST, "the request")
    return [*wish_findings(case.idea, case.facts.capabilities), *wished_dangers(said)]


def _form(idea: Idea, facts: IdeaFacts) -> Iterable[Finding]:
    if facts.problems:
        yield Finding(
            "broken_config",
            "The included configuration is not valid",
            SourceKind.REQUEST,
            f"{facts.problems[0]} (rule broken_config)",
            _BROKEN,
            tuple(f"Correct the configuration: {problem}" for problem in facts.problems[:_MOST_PROBLEMS]),
            stop=True,
        )
    checkable = idea.requirements or facts.servers or facts.packages
    words = max(facts.words, count_words(idea.name))
    if words < _FEW_WORDS and not checkable and not facts.problems:
        yield Finding(
            "undescribed",
            "The idea is hardly described: too little is said to call it feasible",
            SourceKind.REQUEST,
            f"a description of fewer than {_FEW_WORDS} words, or none that tells what is wanted"
            " (rule undescribed)",
            _UNDESCRIBED,
            ("Say in a sentence or two what the tools take and return",),
        )


def _kinds(facts: IdeaFacts) -> Iterable[Finding]:
    if "command" in facts.servers:
        yield Finding(
            "command",
            "A command runs with the rights of the user who starts it",
            SourceKind.REQUEST,
            "a server with a command in the configuration (rule command)",
            advice=("Deploy it in a container, or review what it runs",),
        )
    if "url" in facts.servers:
        yield Finding(
            "remote",
            "Whoever runs the remote server sees what it is sent, and can change its tools at any time",
            SourceKind.REQUEST,
            "a server with an address in the configuration (rule remote)",
            advice=("Pin its tools by the MCP's policy, so that a change is seen",),
        )


def _merits(case: Case) -> list[Merit]:
    servers = included_config(case.idea).config.servers
    used = {use.question.name for use in case.facts.packages}
    used |= {PurePath(server.command).name for server in servers if server.command}
    # Nobody is led to a server for what should not be done.
    dangerous = BEST - sum(_costs(_wished(case)).values()) < FEASIBLE
    sure = [match for match in case.matches if match.sure and not dangerous]
    known = [_known_server(match, used) for match in sure]
    mcps = [
        Merit(
            "similar_mcp",
            f"A registered MCP looks like it: {mcp.slug}",
            SourceKind.MCP,
            f"mcp:{mcp.slug}, score {mcp.score:.2f}",
        )
        for mcp in case.known.mcps
    ]
    documents = [
        Merit(
            "knowledge",
            f"The knowledge base has {document.title!r}: {document.snippet}",
            SourceKind.KNOWLEDGE,
            f"knowledge:{document.document_id}, score {document.score:.2f}",
        )
        for document in case.known.documents
    ]
    return [*package_merits(case.packages), *trial_merits(case.trials), *known, *mcps, *documents]


def _known_server(match: KnownMatch, used: set[str]) -> Merit:
    server = match.server
    secrets = ", ".join(secret.name for secret in server.secrets if secret.required)
    needs = f"; it needs {secrets}" if secrets else ""
    taken = server.package in used
    return Merit(
        "known_server",
        f"It runs a known server: {server.name} ({server.slug})"
        if taken
        else f"A known server does it: {server.name} ({server.slug})",
        SourceKind.CATALOGUE,
        f"catalogue:{server.slug}, score {match.score:.2f}: {', '.join(match.why[:5])}",
        gain=2,
        advice=() if taken else (f"Take the known server {server.slug} rather than write one{needs}",),
    )


def _costs(findings: list[Finding]) -> dict[str, int]:
    costs: dict[str, int] = {}
    for finding in findings:
        if finding.cost:
            costs[finding.rule] = max(finding.cost, costs.get(finding.rule, 0))
    return dict(sorted(costs.items(), key=lambda item: (-item[1], item[0])))


def _gains(merits: list[Merit]) -> dict[str, int]:
    gains: dict[str, int] = {}
    for merit in merits:
        if merit.gain:
            gains[merit.rule] = max(merit.gain, gains.get(merit.rule, 0))
    return dict(sorted(gains.items()))


def _advice(case: Case, findings: list[Finding], merits: list[Merit]) -> list[str]:
    similar = case.known.similar
    look = [f"Look first whether a registered MCP does it already: {', '.join(similar)}"] if similar else []
    # What only says where to look is no more advice than the one line that lists all of them.
    told = [advice for finding in findings for advice in finding.advice]
    return _distinct([*told, *(advice for merit in merits for advice in merit.advice), *look])


def _reasoning(case: Case, costs: dict[str, int], gains: dict[str, int], score: int, stops: list[str]) -> str:
    verdict = "looks feasible" if score >= FEASIBLE and not stops else "does not look feasible as it stands"
    touched = ", ".join(case.facts.capabilities)
    wants = f" It touches: {touched}." if touched else ""
    if not (touched or costs or stops):
        wants = " The rules find nothing risky in its words."
    if "undescribed" in costs:
        wants += " Too little is said of it to judge it."
    steps = [f"{BEST / 100:.2f} to begin with"]
    steps += [f"-{cost / 100:.2f} {rule}" for rule, cost in costs.items()]
    steps += [f"+{gain / 100:.2f} {rule}" for rule, gain in gains.items()]
    sum_ = f"Score: {', '.join(steps)} = {score / 100:.2f}"
    if stops:
        sum_ += f" ({STOPPED / 100:.2f} at most, for this stops it: {'; '.join(stops[:3])})"
    elif not 0 <= BEST - sum(costs.values()) + sum(gains.values()) <= 100:
        sum_ += " (kept between 0 and 1)"
    return (
        f"{short(case.idea.name, 100)!r} {verdict} (score {score / 100}).{wants} {sum_};"
        f" feasible from {FEASIBLE / 100:.2f} on."
        " No language model was used: this verdict comes from the built-in rules alone."
    )


def _untried(case: Case) -> Iterable[str]:
    for trial in case.trials:
        if trial.report.outcome is TrialOutcome.NOT_TRIED:
            yield f"The server {trial.server!r} was not tried: {trial.report.reason or 'no reason was told'}"
    for package in case.packages:
        if package.exists is None:
            asked = f"Whether the package {package.name} exists in {package.registry.value} is unknown"
            yield f"{asked}: {package.reason or 'no reason was told'}"


def _similar(match: KnownMatch) -> SimilarServer:
    server = match.server
    return SimilarServer(slug=server.slug, name=server.name, score=round(match.score, 4), sure=match.sure)


def _shown(trial: TriedServer) -> ShownTrial:
    report = trial.report
    return ShownTrial(
        server=trial.server,
        outcome=report.outcome,
        reason=short(report.reason) if report.reason else None,
        driver=report.driver,
        tools=[short(str(tool.get("name", "")), 64) for tool in report.tools[:_MOST_TOOLS]],
        seconds=round(report.seconds, 2),
        placeholders=report.placeholders[:_MOST_TOOLS],
    )


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(short(re.sub(r"\s+", " ", text)) for text in texts))


def _without_repeats(evidence: list[Evidence]) -> list[Evidence]:
    cleaned = (each.model_copy(update={"statement": short(each.statement)}) for each in evidence)
    # One for each statement: what is found in many places is told once, with the first of them.
    return list({each.statement: each for each in reversed([*cleaned])}.values())[::-1]
