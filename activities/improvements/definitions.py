"""What is wrong with the definitions of tools: a model goes by nothing else when it chooses one."""

import re
from collections.abc import Iterator
from typing import Any, Final

from activities.feasibility_rules.servers import schema_texts
from activities.feasibility_rules.texts import Text, described_dangers
from activities.improvements.facts import Facts, Finding, Tool
from activities.improvements.texts import listed, short
from mcp_platform.config_patches import Patch, pointer
from mcp_platform.contracts.improvements import Category, Severity

_SHORTEST: Final = 15
_SHORTEST_WIDE: Final = 5
"""Characters of a description in Chinese, Japanese or Korean, where each says more."""
_WIDE: Final = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[\u3400-\u9fff]")
_SAYING: Final = frozenset({"type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "not", "if"})
"""Keywords of JSON Schema by any of which a parameter says what it takes."""
_CHANGING: Final = re.compile(
    r"(add|append|create|delete|drop|edit|execute|insert|kill|move|patch|post|purge|remove|rename|replace"
    r"|reset|revoke|send|set|update|upload|write)"
)
_NOT_DESCRIBED: Final = (
    "They have no description, and a model chooses tools by their descriptions: say what each does, when to"
    " use it and what it answers"
)
_HARDLY_MORE: Final = (
    "Their descriptions say hardly more than their names: say when to use each and what it answers"
)
_TYPES: Final = ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (list, "array"))


def definition_findings(facts: Facts) -> Iterator[Finding]:
    """Look at each tool by itself."""
    for tool in facts.tools:
        yield from _description(tool)
        yield from _parameters(tool, facts)
        yield from _annotations(tool)
        yield from _dangers(tool)


def _description(tool: Tool) -> Iterator[Finding]:
    text = tool.definition.get("description")
    said = text.strip() if isinstance(text, str) else ""
    name, shown = short(tool.name, 80), short(said, 80)
    if not said:
        yield Finding(
            "missing-description",
            tool.target,
            f"Describe the tool {name}",
            Severity.MEDIUM,
            Category.DESCRIPTION,
            "It has no description, and a model chooses tools by their descriptions: say what it does, when"
            " to use it and what it answers.",
            [tool.evidence(f"{name} has no description")],
            shared=_elsewhere(tool, "Describe {} tools", _NOT_DESCRIBED),
        )
        return
    least = _SHORTEST_WIDE if _WIDE.search(said) else _SHORTEST
    if len(said) < least or _words(said) <= _words(tool.name):
        yield Finding(
            "unclear-description",
            tool.target,
            f"Say more about the tool {name}",
            Severity.LOW,
            Category.DESCRIPTION,
            f"Its description, “{shown}”, says hardly more than its name: say when to use it and what it"
            " answers.",
            [tool.evidence(f"{name} is described as “{shown}”")],
            shared=_elsewhere(tool, "Say more about {} tools", _HARDLY_MORE),
        )


def _elsewhere(tool: Tool, title: str, reason: str) -> tuple[str, str] | None:
    """Give what several tools share, where no patch can ever describe one: its server's author does."""
    return (title, reason) if tool.place is None else None


def _parameters(tool: Tool, facts: Facts) -> Iterator[Finding]:
    name = short(tool.name, 80)
    if not isinstance(tool.definition.get("inputSchema"), dict):
        yield Finding(
            "missing-schema",
            tool.target,
            f"Give the tool {name} a schema of its parameters",
            Severity.MEDIUM,
            Category.PARAMETERS,
            "Without an inputSchema nobody knows how to call it, and no call can be checked.",
            [tool.evidence(f"{name} has no inputSchema")],
            shared=(
                "Give {} tools a schema of their parameters",
                "Without an inputSchema nobody knows how to call them, and no call can be checked",
            ),
        )
        return
    given = {key: value for key, value in tool.properties.items() if isinstance(value, dict)}
    for rule, title, severity, reason, lacking in _LACKING:
        if keys := [key for key, value in given.items() if lacking(value)]:
            patch = _typed(tool, keys, facts) if rule == "untyped-parameters" else None
            yield Finding(
                rule,
                tool.target,
                f"Give parameters of {name} {title}",
                severity,
                Category.PARAMETERS,
                f"{reason}: {listed(keys)}.",
                [tool.evidence(f"{listed(keys)} of {name}: no {title}")],
                patch,
                None if patch else ("Give parameters of {} tools " + title, reason),
            )


def _unlimited(schema: dict[str, Any]) -> bool:
    if schema.keys() & {"enum", "const", "$ref"}:
        return False
    match schema.get("type"):
        case "string":
            return not schema.keys() & {"maxLength", "format", "pattern"}
        case "integer" | "number":
            low, high = {"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}
            return not (schema.keys() & low and schema.keys() & high)
        case "array":
            return "maxItems" not in schema
    return False


_LACKING: Final = (
    (
        "untyped-parameters",
        "types",
        Severity.MEDIUM,
        "A model guesses what they take",
        lambda schema: not _SAYING & schema.keys(),
    ),
    (
        "undescribed-parameters",
        "descriptions",
        Severity.LOW,
        "A model guesses what they mean",
        lambda schema: not schema.get("description"),
    ),
    (
        "unlimited-parameters",
        "limits",
        Severity.INFO,
        "Without maxLength, minimum and maximum, or maxItems, a call may send anything of any size",
        _unlimited,
    ),
)
"""What the schema of a parameter may lack."""


def _typed(tool: Tool, names: list[str], facts: Facts) -> Patch | None:
    """Give the types that follow from default values, where the configuration is what defines the tool."""
    if tool.place is None:
        return None
    # Parameters are written as a whole schema, or as a bare map of properties.
    whole = isinstance(facts.config.tools[tool.place].parameters.get("type"), str)
    steps: Patch = []
    for name in names:
        default = tool.properties[name].get("default")
        found = next((word for kind, word in _TYPES if isinstance(default, kind)), None)
        if found:
            within = ["parameters", "properties"] if whole else ["parameters"]
            path = pointer("tools", tool.place, *within, name, "type")
            steps.append({"op": "add", "path": path, "value": found})
    return steps or None


def _annotations(tool: Tool) -> Iterator[Finding]:
    found = tool.definition.get("annotations")
    annotations = found if isinstance(found, dict) else {}
    name = short(tool.name, 80)
    if not annotations.keys() & {"readOnlyHint", "destructiveHint"}:
        yield Finding(
            "missing-annotations",
            tool.target,
            f"Say whether {name} only reads",
            Severity.LOW,
            Category.ANNOTATIONS,
            "It has no readOnlyHint: clients must take it for one that destroys, ask their users each time,"
            " and a call that broke is never repeated.",
            [tool.evidence(f"{name} has neither readOnlyHint nor destructiveHint")],
            shared=(
                "Say of {} tools whether they only read",
                "Without readOnlyHint clients must take them for tools that destroy, ask their users each"
                " time, and calls that broke are never repeated",
            ),
        )
    elif annotations.get("readOnlyHint") is True and (verb := _verb(tool.name)) is not None:
        yield Finding(
            "contradicting-annotations",
            tool.target,
            f"{name} says that it only reads",
            Severity.MEDIUM,
            Category.ANNOTATIONS,
            f"Its name says that it changes something ({verb}), and its readOnlyHint that it does not:"
            " clients may call it without asking, and calls that broke are repeated.",
            [tool.evidence(f"{name} has readOnlyHint: true")],
        )


def _verb(name: str) -> str | None:
    first = next(iter(_WORD.findall(name)), "").lower()
    return first if _CHANGING.fullmatch(first) else None


def _dangers(tool: Tool) -> Iterator[Finding]:
    text = tool.definition.get("description")
    said = f"{text if isinstance(text, str) else ''}\n{schema_texts(tool.definition.get('inputSchema'))}"
    for danger in described_dangers(Text(said, tool.kind, f"the description of {short(tool.name, 80)}")):
        yield Finding(
            f"danger-{danger.rule}",
            tool.target,
            danger.risk,
            Severity.HIGH,
            Category.SECURITY,
            "A model reads it whenever it is offered the tool, and may do as it says: do not connect the two,"
            " and tell the author.",
            [tool.evidence(danger.source)],
        )


def _words(text: str) -> set[str]:
    """Give the words of a text or a name, without those that say nothing."""
    found = {word.lower() for word in _WORD.findall(text)}
    return {word.rstrip("s") for word in found} - {"a", "an", "the", "tool", "thi", "it", "to", "of", ""}
