"""What is told at the end: a configuration with all that was seen of it, or why there is none."""

from collections.abc import Mapping
from typing import Any, Final

from mcp_platform.contracts.checks import CallReport, PackageFinding, TrialOutcome
from mcp_platform.contracts.evidence import Evidence, SourceKind
from mcp_platform.contracts.generation import Alternative, Conclusion, Result, Tried, Verified
from mcp_platform.contracts.known import KnownMatch

_SHOWN: Final = 300
_NEAREST: Final = 3
_LEAST_ALIKE: Final = 0.2
"""Below this score a known server has nothing to do with a request."""
_MOST_FAILURES: Final = 5


def verified(result: Result, config: Mapping[str, Any], *, tried: bool) -> list[Verified]:
    """List what was checked of a configuration, how, and what came of it."""
    found = [Verified(what="schema", how="held against the rules for configurations", outcome="passed")]
    apis = _apis(config)
    for package in result.packages:
        found.append(_package(package))
    for trial in result.trials:
        found += _trial(trial, api=trial.server in apis)
    if not tried:
        found.append(Verified(what="trial", how="the request says try: false", outcome="not_tried"))
    return found


def warnings(conclusion: Conclusion, result: Result) -> list[str]:
    """Say what a reader must know before they trust a configuration."""
    told = list(result.draft.warnings)
    if result.inconclusive is not None:
        told.insert(0, f"It did not pass its trial: {result.inconclusive}")
    if not conclusion.order.try_it:
        told.append("Its server was not tried, as the request wished.")
    for trial in result.trials:
        if trial.report.outcome is TrialOutcome.NOT_TRIED:
            told.append(f"The server {trial.server} was not tried: {trial.report.reason}")
    for package in result.packages:
        if package.exists is None:
            told.append(
                f"Whether {package.registry} has the package {package.name} is not known: {package.reason}"
            )
        elif package.withdrawn:
            told.append(f"{package.name} {package.version or ''} was withdrawn by its author.")
    if conclusion.no_model is not None and result.draft.engine == "rules" and not _certain(result):
        told.append(f"No language model was used: {conclusion.no_model}")
    return told


def evidence(result: Result, config: Mapping[str, Any]) -> list[Evidence]:
    """Say where the statements come from."""
    found = list(result.draft.evidence)
    for package in result.packages:
        if package.exists:
            licence = f", licence {package.licence}" if package.licence else ""
            latest = f", latest {package.latest}" if package.latest else ""
            version = package.version or package.latest or ""
            found.append(
                Evidence(
                    statement=f"The package {package.name} exists{latest}{licence}",
                    kind=SourceKind.REGISTRY,
                    source=f"{package.registry}:{package.name} {version}".strip(),
                )
            )
    apis = _apis(config)
    for trial in result.trials:
        if trial.report.outcome is TrialOutcome.PASSED:
            listed = f"The server {trial.server} listed {len(trial.tools)} tools"
            found.append(
                Evidence(
                    statement=f"The API {trial.server} answered" if trial.server in apis else listed,
                    kind=SourceKind.TRIAL,
                    source=f"trial:{trial.report.driver or 'unknown'}",
                )
            )
    return found


def alternatives(matches: list[KnownMatch], known: str | None) -> list[Alternative]:
    """Name the known servers that might do as well, likest first."""
    return [
        Alternative(slug=match.server.slug, name=match.server.name, score=round(match.score, 3))
        for match in _likest(matches)
        if match.server.slug != known and match.score >= _LEAST_ALIKE
    ]


def reason_for_none(conclusion: Conclusion) -> str:
    """Say what was looked for, what came near, and what would help."""
    said: list[str] = []
    if conclusion.failures:
        said.append("No configuration held what was asked of it.")
        said += [
            f"{failure.draft.label}: {failure.reason}".rstrip(".") + "."
            for failure in conclusion.failures[:_MOST_FAILURES]
        ]
    elif conclusion.order.source == "repository":
        said.append("The repository says nothing that a configuration could be made of.")
    else:
        said.append(f"No known server does what was looked for: “{_short(conclusion.text)}”.")
    said += [f"{note}." for note in conclusion.notes[:_MOST_FAILURES]]
    likest = _likest(conclusion.matches)[:_NEAREST]
    nearest = ", ".join(f"{match.server.slug} ({match.score:.2f})" for match in likest)
    if nearest and conclusion.order.source == "words":
        said.append(f"The nearest known servers: {nearest}.")
    if conclusion.no_model is not None:
        said.append(f"No language model was used: {conclusion.no_model}.")
    said.append(_remedy(conclusion))
    return " ".join(said)


def _likest(matches: list[KnownMatch]) -> list[KnownMatch]:
    """Sort by score alone: the search puts those first that take less to run."""
    return sorted(matches, key=lambda match: -match.score)


def _remedy(conclusion: Conclusion) -> str:
    if conclusion.order.source == "repository":
        return (
            "What would help: a server.json or mcp.json in the repository, or a command in pyproject.toml"
            " ([project.scripts]) or package.json (bin)."
        )
    return (
        "What would help: the name of the service that is to be reached, its OpenAPI document (openapi),"
        " or the repository of an MCP server (repository_url)."
    )


def _certain(result: Result) -> bool:
    """Whether nobody would have asked a model."""
    return result.draft.known is not None and not result.draft.warnings


def _package(package: PackageFinding) -> Verified:
    how = f"looked up {package.name} in {package.registry}"
    if package.exists is None:
        return Verified(what="package", how=f"{how}: {package.reason}", outcome="unknown")
    version = package.version or package.latest
    told = f"{how}: {'withdrawn ' if package.withdrawn else ''}{version or 'it exists'}"
    return Verified(what="package", how=told, outcome="passed")


def _apis(config: Mapping[str, Any]) -> set[str]:
    """Name the servers that are plain HTTP APIs: their tools are written down, and nobody lists them."""
    return {server["name"] for server in config["servers"] if server.get("type") == "rest"}


def _trial(trial: Tried, *, api: bool) -> list[Verified]:
    report = trial.report
    if report.outcome is TrialOutcome.NOT_TRIED:
        return [Verified(what="trial", how=f"{trial.server}: {report.reason}", outcome="not_tried")]
    call = [] if report.call is None else [_call(report.call)]
    if report.outcome is TrialOutcome.FAILED:
        return [Verified(what="trial", how=f"{trial.server}: {report.reason}", outcome="failed"), *call]
    if api:
        how = f"{trial.server}: its address answered; the tools are those of the document"
        return [Verified(what="trial", how=how, outcome="passed"), *call]
    asked = (
        "asked at its address" if report.driver == "remote" else f"started with the {report.driver} driver"
    )
    how = (
        f"{trial.server}: {asked}, listed {len(trial.tools)} tools in {report.seconds:.1f} s, and was removed"
    )
    return [Verified(what="trial", how=how, outcome="passed"), *call]


def _call(call: CallReport) -> Verified:
    how = f"called {call.tool}: {_short(call.answer)}"
    return Verified(what="call", how=how, outcome="passed" if call.ok else "failed")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"
