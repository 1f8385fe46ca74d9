"""What is wrong with tools taken together, and with what was counted of them."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final

from activities.improvements.facts import Facts, Finding, Tool, Usage
from activities.improvements.texts import listed, short
from mcp_platform.config_patches import pointer
from mcp_platform.contracts.evidence import Evidence, SourceKind
from mcp_platform.contracts.improvements import Category, Severity

_BYTES_OF_A_TOKEN: Final = 4
_LARGE_TOOL: Final = 1_000
_LARGE_TOGETHER: Final = 10_000
"""Tokens; each request to a model carries the definitions of all tools."""
_LONGEST_NAME: Final = 64
"""What common clients take, with the name of the server before it."""
_ENOUGH: Final = 10
"""Calls of a tool from which something can be concluded."""
_ENOUGH_TOGETHER: Final = 20
_ENOUGH_DAYS: Final = 1.0
_OFTEN: Final = 0.2
_MOSTLY: Final = 0.5
_SLOW: Final = 5_000.0
_VERY_SLOW: Final = 20_000.0


def together_findings(facts: Facts) -> Iterator[Finding]:
    """Look at the tools together."""
    yield from _names(facts)
    yield from _sizes(facts)
    yield from _declared(facts)
    if differing := listed(facts.offered.differing):
        yield Finding(
            "differing-replicas",
            "deployment",
            "Let all replicas offer the same tools",
            Severity.MEDIUM,
            Category.RELIABILITY,
            f"Replicas define {differing} differently, or not all of them have it: what a call"
            " does depends on the replica that it meets.",
            [_asked(facts, f"replicas differ in {differing}")],
        )


def usage_findings(facts: Facts) -> Iterator[Finding]:
    """Look at what was counted in the last days."""
    offered = {tool.name for tool in facts.tools}
    for name, usage in sorted(facts.usage.items()):
        if name in offered and usage.requests >= _ENOUGH:
            yield from _failing(facts, name, usage)
            yield from _slow(facts, name, usage)
    if can_judge_unused(facts):
        total = sum(usage.requests for usage in facts.usage.values())
        if unused := sorted(offered - {name for name, usage in facts.usage.items() if usage.requests}):
            yield Finding(
                "unused-tools",
                "config",
                "Leave out tools that nobody calls",
                Severity.INFO,
                Category.USAGE,
                f"Of {total} calls in the last days none was for {listed(unused)}: each costs every model"
                " that sees it tokens and attention. A policy can hide them.",
                [_counted(facts, f"{len(unused)} of {len(offered)} tools were not called")],
            )


def can_judge_unused(facts: Facts) -> bool:
    """Tell whether there were enough calls for it to mean something that a tool had none."""
    total = sum(usage.requests for usage in facts.usage.values())
    return total >= _ENOUGH_TOGETHER and facts.days >= _ENOUGH_DAYS


def tokens_of(definition: Mapping[str, Any]) -> int:
    """Estimate what a definition costs a model, at four bytes a token."""
    kept = {key: value for key, value in definition.items() if key not in {"_meta", "icons"}}
    return len(json.dumps(kept, ensure_ascii=False).encode(errors="replace")) // _BYTES_OF_A_TOKEN


def _names(facts: Facts) -> Iterator[Finding]:
    alike: dict[str, list[Tool]] = defaultdict(list)
    for tool in facts.tools:
        alike[re.sub(r"[^0-9a-z\u0080-\U0010ffff]", "", tool.name.lower())].append(tool)
        if len(tool.name) > _LONGEST_NAME:
            yield Finding(
                "long-name",
                tool.target,
                f"Shorten the name {short(tool.name, 80)}",
                Severity.LOW,
                Category.NAMES,
                f"It has {len(tool.name)} characters; common clients take {_LONGEST_NAME}, and leave out or"
                " cut off what is longer.",
                [tool.evidence(f"a name of {len(tool.name)} characters")],
            )
    for same in alike.values():
        if len(same) < 2:
            continue
        servers = sorted({tool.server for tool in same if tool.server})
        names = sorted({tool.name for tool in same})
        equal = len(names) == 1
        where = f" of the servers {listed(servers)}" if len(servers) > 1 else ""
        yield Finding(
            "colliding-names",
            f"tool:{names[0]}",
            f"Tell {listed(names)} apart",
            Severity.MEDIUM if equal else Severity.LOW,
            Category.NAMES,
            f"{'Several tools have the same name' if equal else 'Names differ by how they are written alone'}"
            f"{where}: models take one for the other.",
            [tool.evidence(f"a tool is called {short(tool.name, 80)}") for tool in same[:4]],
        )


def _sizes(facts: Facts) -> Iterator[Finding]:
    sizes = {tool.name: tokens_of(tool.definition) for tool in facts.tools}
    for tool in facts.tools:
        if sizes[tool.name] > _LARGE_TOOL:
            yield Finding(
                "large-definition",
                tool.target,
                f"Shorten the definition of {short(tool.name, 80)}",
                Severity.LOW,
                Category.SIZE,
                f"It takes about {sizes[tool.name]} tokens of every request to a model; most tools do with a"
                " few hundred.",
                [tool.evidence(f"about {sizes[tool.name]} tokens")],
            )
    total = sum(sizes.values())
    if total > _LARGE_TOGETHER:
        yield Finding(
            "large-definitions",
            "config",
            "Offer fewer or shorter tools",
            Severity.MEDIUM,
            Category.SIZE,
            f"All {len(sizes)} definitions take about {total} tokens of every request to a model: split the"
            " MCP, shorten descriptions, or let clients find tools at /mcp/smart.",
            [_asked(facts, f"{len(sizes)} tools, about {total} tokens")],
        )


def _declared(facts: Facts) -> Iterator[Finding]:
    """Find tools that the configuration describes and nobody offers; only what was seen counts."""
    seen = [tool for tool in facts.tools if tool.kind is SourceKind.TRIAL and tool.place is None]
    offered = {tool.name for tool in seen}
    if not seen or any(server.is_rest for server in facts.config.servers):
        return
    for place, tool in enumerate(facts.config.tools):
        if tool.name not in offered:
            yield Finding(
                "declared-tool-missing",
                f"tool:{tool.name}",
                f"Leave out {tool.name}, which no server has",
                Severity.LOW,
                Category.CONFIGURATION,
                "The configuration describes it, and it is found in searches; a call of it fails.",
                [_asked(facts, f"{len(offered)} tools are offered, and {tool.name} is none of them")],
                [{"op": "remove", "path": pointer("tools", place)}],
            )


def _failing(facts: Facts, name: str, usage: Usage) -> Iterator[Finding]:
    if usage.error_rate < _OFTEN:
        return
    yield Finding(
        "failing-tool",
        f"tool:{name}",
        f"Find out why {short(name, 80)} fails",
        Severity.HIGH if usage.error_rate >= _MOSTLY else Severity.MEDIUM,
        Category.RELIABILITY,
        f"{usage.errors} of its {usage.requests} calls failed ({usage.error_rate:.0%}). The journal of calls"
        " and the replicas' logs say with what.",
        [_counted(facts, f"{usage.errors} of {usage.requests} calls of {short(name, 80)} failed")],
    )


def _slow(facts: Facts, name: str, usage: Usage) -> Iterator[Finding]:
    if usage.p95_ms is None or usage.p95_ms < _SLOW:
        return
    seconds = usage.p95_ms / 1000
    yield Finding(
        "slow-tool",
        f"tool:{name}",
        f"Make {short(name, 80)} faster",
        Severity.MEDIUM if usage.p95_ms >= _VERY_SLOW else Severity.LOW,
        Category.SPEED,
        f"One call in twenty takes {seconds:.1f} s or longer, {usage.average_ms / 1000:.1f} s on average:"
        " models and people wait. Answer less at once, or cache.",
        [_counted(facts, f"p95 of {short(name, 80)}: {seconds:.1f} s over {usage.requests} calls")],
    )


def _counted(facts: Facts, statement: str) -> Evidence:
    source = f"figures:{facts.mcp.slug} (7 days)"
    return Evidence(statement=statement, kind=SourceKind.FIGURES, source=source)


def _asked(facts: Facts, statement: str) -> Evidence:
    first = facts.tools[0] if facts.tools else None
    if first is None:
        return Evidence(statement=statement, kind=SourceKind.MCP, source=f"mcp:{facts.mcp.slug}")
    return first.evidence(statement)
