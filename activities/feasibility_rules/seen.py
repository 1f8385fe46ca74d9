"""What speaks for and against an idea by what was really seen: packages, trials, their tools."""

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Any

from activities.feasibility_rules.findings import Finding, Merit, short
from activities.feasibility_rules.servers import schema_texts
from activities.feasibility_rules.texts import Text, described_dangers
from mcp_platform.contracts.analysis import TriedServer
from mcp_platform.contracts.checks import PackageFinding, TrialOutcome
from mcp_platform.contracts.evidence import SourceKind
from mcp_platform.contracts.known import KnownMatch
from mcp_platform.contracts.mcps import McpConfig
from mcp_platform.packages import normal_name

_COPYLEFT = re.compile(r"\b(AGPL|GPL|LGPL|SSPL|EUPL|OSL|CC-BY-SA)", re.IGNORECASE)
_NETWORK_COPYLEFT = re.compile(r"\b(AGPL|SSPL)", re.IGNORECASE)
_NOT_FREE = re.compile(
    r"UNLICENSED|proprietary|commercial|BUSL|all rights reserved|SEE LICEN[CS]E", re.IGNORECASE
)
_CHANGING_NAME = re.compile(
    r"^(delete|drop|remove|write|update|create|insert|edit|move|send|post|put|set|execute|exec|run|kill|deploy|merge"
    r"|push|publish)(?=[_\-A-Z]|$)"
)
_RUNNING_NAME = re.compile(
    r"(^|[_-])(shell|bash|exec|execute_command|run_command|terminal|eval|run_code)([_-]|$)"
)
_NO_NETWORK = re.compile(
    r"error sending request|failed to fetch|dns error|name resolution|could not resolve"
    r"|network is unreachable|no route to host|UnknownIssuer|certificate verify failed|SELF_SIGNED_CERT"
    r"|UNABLE_TO_(GET|VERIFY)"
    r"|\b(ENOTFOUND|EAI_AGAIN|ETIMEDOUT|ECONNREFUSED|ECONNRESET|ENETUNREACH)\b",
    re.IGNORECASE,
)
"""What uv, pip and npm say when they do not reach a registry."""
_USUAL = re.compile(r"^@[^/]+/|\b(mcp|servers?)\b-?|-$")
_RESEMBLES = 0.85
_CORE_RESEMBLES = 0.8
_NAMED = 5
_COMMAND_FAILED = "start", "Run its command by hand, and correct what it says"
_REMOTE_FAILED = "answer", "Check the address, and that a server which speaks MCP answers there"


def package_findings(packages: list[PackageFinding], asked: list[str | None]) -> Iterator[Finding]:
    """Find what speaks against packages; `asked` has the version that each was asked about."""
    for package, version in zip(packages, asked, strict=False):
        yield from _existence(package, version)
        if package.exists:
            yield from _state(package)


def package_merits(packages: list[PackageFinding]) -> Iterator[Merit]:
    """Say of each package that there is one."""
    for package in packages:
        if package.exists:
            known = f" {package.version or package.latest or ''}".rstrip()
            licence = f", licence {short(package.licence, 60)}" if package.licence else ""
            text = f"The package {package.name}{known} is in its registry{licence}"
            advice: tuple[str, ...] = ()
            if package.version and package.latest and package.version != package.latest:
                advice = (
                    f"{package.name} {package.version} is pinned; the newest is {short(package.latest, 40)}",
                )
            yield Merit("package_exists", text, SourceKind.REGISTRY, _source(package), advice=advice)


def imitations(packages: list[PackageFinding], matches: list[KnownMatch]) -> Iterator[Finding]:
    """Find packages whose names are nearly those of known ones: a usual trap."""
    known = {normal_name(match.server.package): match.server for match in matches if match.server.package}
    for package in packages:
        name = normal_name(package.name)
        if name in known or package.exists is False:
            continue
        for other, server in sorted(known.items()):
            if _nearly(name, other):
                risk = (
                    f"The package {package.name} is not the known {server.package}, but has nearly its name"
                )
                advice = (f"Make sure that {package.name} is meant, and not {server.package}",)
                source = f"catalogue:{server.slug} (rule imitation)"
                yield Finding("imitation", risk, SourceKind.CATALOGUE, source, 15, advice)
                break


def _nearly(name: str, other: str) -> bool:
    """Whether two names resemble each other, also without what the names of servers have in common."""
    cores = _USUAL.sub("", name), _USUAL.sub("", other)
    return _likeness(name, other) >= _RESEMBLES and _likeness(*cores) >= _CORE_RESEMBLES


def _likeness(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other).ratio()


def trial_findings(
    trials: list[TriedServer], config: McpConfig, fetched: dict[str, bool | None], reading_only: bool
) -> Iterator[Finding]:
    """Find what trials showed.

    Args:
        trials: The servers that were tried.
        config: Which tools the configuration promises.
        fetched: Servers that are packages, and whether these exist; None where no registry could be asked,
            and that they fail says little.
        reading_only: Whether the idea says that it changes nothing.
    """
    remote = {server.name for server in config.servers if server.url is not None}
    for trial in trials:
        if trial.report.outcome is TrialOutcome.FAILED:
            unreachable = fetched.get(trial.server, True) is None
            yield _failure(trial, trial.server in fetched, unreachable, trial.server in remote)
        elif trial.report.outcome is TrialOutcome.PASSED:
            yield from _tools(trial, reading_only)
    yield from _missing(trials, config)


def trial_merits(trials: list[TriedServer]) -> Iterator[Merit]:
    """Say which servers were seen to work."""
    for trial in trials:
        report = trial.report
        if report.outcome is TrialOutcome.PASSED:
            names = [_name(tool) for tool in report.tools]
            listed = ", ".join(names[:_NAMED]) + (" …" if len(names) > _NAMED else "")
            text = f"The server {trial.server!r} started and listed {len(names)} tools: {listed}"
            source = f"trial of {trial.server!r}, {report.seconds:.1f} s, {report.driver}, {report.era}"
            yield Merit("trial_passed", text, SourceKind.TRIAL, source, gain=3)


def _existence(package: PackageFinding, version: str | None) -> Iterator[Finding]:
    if package.exists is False:
        yield Finding(
            "no_package",
            f"The package {package.name} does not exist in {package.registry.value}",
            SourceKind.REGISTRY,
            f"{package.registry.value}:{package.name} (rule no_package)",
            40,
            ("Correct the name: who registers a free name decides what runs",),
            stop=True,
        )
    elif package.exists and version is not None and package.version is None:
        newest = f"; the newest is {short(package.latest, 40)}" if package.latest else ""
        yield Finding(
            "no_version",
            f"The package {package.name} has no version {version}{newest}",
            SourceKind.REGISTRY,
            f"{package.registry.value}:{package.name} (rule no_version)",
            30,
            (f"Pin a version of {package.name} that exists",),
            stop=True,
        )


def _state(package: PackageFinding) -> Iterator[Finding]:
    source = _source(package)
    if package.withdrawn:
        risk = f"This version of {package.name} was withdrawn by its author"
        advice = (f"Take another version of {package.name}, or another package",)
        yield Finding("withdrawn", risk, SourceKind.REGISTRY, f"{source} (rule withdrawn)", 20, advice)
    licence = package.licence
    if not licence:
        risk = f"The licence of {package.name} is unknown"
        advice = ("Find out under which licence it may be used",)
        yield Finding(
            "licence_unknown", risk, SourceKind.REGISTRY, f"{source} (rule licence_unknown)", 3, advice
        )
    elif _COPYLEFT.search(licence):
        risk = f"{package.name} is under {short(licence, 60)}: who passes it on owes its source"
        cost = 5 if _NETWORK_COPYLEFT.search(licence) else 3
        advice = ("Have the licence judged before it is built into a product",)
        yield Finding("copyleft", risk, SourceKind.REGISTRY, f"{source} (rule copyleft)", cost, advice)
    elif _NOT_FREE.search(licence):
        risk = f"{package.name} is under a licence that is not free: {short(licence, 60)}"
        advice = ("Make sure that you may use it",)
        yield Finding(
            "licence_not_free", risk, SourceKind.REGISTRY, f"{source} (rule licence_not_free)", 8, advice
        )


def _failure(trial: TriedServer, fetched: bool, unreachable: bool, remote: bool) -> Finding:
    """Say what a server's failure means.

    Args:
        trial: The trial that failed.
        fetched: Whether the server is a package that has to be fetched first.
        unreachable: Whether the registry of that package could not be asked.
        remote: Whether the server has an address, and nothing of it starts here.
    """
    report = trial.report
    reason = short(report.reason or "no reason was told", 200)
    seen = _seen(trial)
    if report.placeholders:
        names = ", ".join(sorted(report.placeholders)[:_NAMED])
        risk = f"The server {trial.server!r} did not start without its credentials ({names}): {reason}"
        advice = ("Store its credentials as secrets, and deploy it to see whether it starts",)
        return Finding(
            "trial_needs_secrets", risk, SourceKind.TRIAL, f"{seen} (rule trial_needs_secrets)", 5, advice
        )
    if unreachable or (fetched and _NO_NETWORK.search("\n".join(report.stderr_tail))):
        risk = (
            f"The server {trial.server!r} did not start; its package could not be fetched from here: {reason}"
        )
        advice = ("Judge it again where its registry can be reached",)
        return Finding(
            "trial_unreachable", risk, SourceKind.TRIAL, f"{seen} (rule trial_unreachable)", 10, advice
        )
    did, advised = _REMOTE_FAILED if remote else _COMMAND_FAILED
    risk = f"The server {trial.server!r} did not {did} and list its tools: {reason}"
    advice = (advised,)
    return Finding(
        "trial_failed", risk, SourceKind.TRIAL, f"{seen} (rule trial_failed)", 40, advice, stop=True
    )


def _seen(trial: TriedServer) -> str:
    """Say which trial it was, and what its server said last."""
    # The runner's own lines say no more than the reason does.
    own = (line for line in trial.report.stderr_tail if line.strip() and not line.startswith("runner:"))
    last = next(reversed([*own]), "")
    seen = f"trial of {trial.server!r}, {trial.report.seconds:.1f} s"
    return f"{seen}, its last words {short(last, 160)!r}" if last else seen


def _tools(trial: TriedServer, reading_only: bool) -> Iterator[Finding]:
    where = f"the server {trial.server!r}"
    instructions = trial.report.server_info.get("instructions")
    if isinstance(instructions, str):
        yield from described_dangers(Text(instructions, SourceKind.TRIAL, f"{where} (its instructions)"))
    for tool in trial.report.tools:
        text = "\n".join([str(tool.get("description") or ""), schema_texts(tool.get("inputSchema"))])
        named = f"the tool {_name(tool)!r} of {where}"
        yield from described_dangers(Text(text, SourceKind.TRIAL, named))
    source = f"tools that {where} listed in its trial"
    running = sorted(_name(tool) for tool in trial.report.tools if _RUNNING_NAME.search(_name(tool)))
    if running:
        risk = f"Tools of {where} run commands: {_listed(running)}"
        advice = ("Close these tools by the MCP's policy, or run it in a container without network",)
        yield Finding("running_tools", risk, SourceKind.TRIAL, f"{source} (rule running_tools)", 15, advice)
    changing = sorted(_name(tool) for tool in trial.report.tools if _changes(tool))
    if changing and reading_only:
        risk = f"It is to read only, yet tools of {where} change things: {_listed(changing)}"
        advice = ("Close these tools by the MCP's policy",)
        yield Finding(
            "not_reading_only", risk, SourceKind.TRIAL, f"{source} (rule not_reading_only)", 15, advice
        )
    elif changing:
        risk = f"Tools of {where} change things: {_listed(changing)}"
        advice = ("Let only those call them who need to, by the MCP's policy",)
        yield Finding("changing_tools", risk, SourceKind.TRIAL, f"{source} (rule changing_tools)", 5, advice)


def _missing(trials: list[TriedServer], config: McpConfig) -> Iterator[Finding]:
    """Find tools that the configuration promises and no server has; only where all were seen."""
    passed = [trial for trial in trials if trial.report.outcome is TrialOutcome.PASSED]
    if not passed or len(passed) < len(config.servers):
        return
    listed = {_name(tool) for trial in passed for tool in trial.report.tools}
    missing = sorted({tool.name for tool in config.tools} - listed)
    if missing:
        risk = f"The configuration promises tools that no server has: {_listed(missing)}"
        source = "tools that were listed in the trial (rule missing_tools)"
        advice = ("Describe the tools that the server has, or take a version that has these",)
        yield Finding("missing_tools", risk, SourceKind.TRIAL, source, 15, advice)


def _changes(tool: dict[str, Any]) -> bool:
    hints = tool.get("annotations")
    hints = hints if isinstance(hints, dict) else {}
    if isinstance(hints.get("readOnlyHint"), bool):
        return not hints["readOnlyHint"]
    return hints.get("destructiveHint") is True or bool(_CHANGING_NAME.search(_name(tool)))


def _name(tool: dict[str, Any]) -> str:
    return short(str(tool.get("name", "")), 64)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _source(package: PackageFinding) -> str:
    return f"{package.registry.value}:{package.name} {package.version or package.latest or ''}".rstrip()
