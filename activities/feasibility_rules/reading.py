"""Ideas as they are given: in one's own words, or with a configuration in one of the usual forms."""

import json
import re
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from activities.feasibility_rules.findings import short
from mcp_platform.contracts.analysis import LONGEST_IDEA, Idea, PackageUse
from mcp_platform.contracts.base import plain_json
from mcp_platform.contracts.checks import PackageQuestion, Registry
from mcp_platform.contracts.mcps import McpConfig
from mcp_platform.formats.credentials import plain_credentials
from mcp_platform.formats.mcp_servers import read_server
from mcp_platform.formats.server_json import NoServer, read_config
from mcp_platform.packages import is_package_name, normal_name, package_of

_PLACES = frozenset({"config", "mcpServers", "packages", "remotes", "servers", "tools"})
"""Where an idea may have a configuration."""
_PACKAGES = 5
_SEARCHED = 1000
_FENCES = 20
_PROBLEMS = 10

_COMMAND = re.compile(
    r"(?:(?<=`)|^[ \t]{0,20}(?:\$[ \t]{0,5})?)((?:npx|uvx|pipx run)[ \t]+[^`\n]{1,300})", re.MULTILINE
)
"""A command in a line of its own, or quoted as code."""
_IN_PROSE = re.compile(r"\b(npx|uvx)\s+((?:-y|--yes)\s+)?(@?[\w.-]*[-/@.][\w./@=-]*\w)")
"""One within a sentence: what follows looks like a package, and is no word."""
_INSTALLED = re.compile(
    r"\b(?:pip3?|uv pip)\s+install\s+([A-Za-z][\w.-]+(?:==[\w.]+)?)|\bnpm\s+(?:i|install)\s+(?:-g\s+)?"
    r"(@?[a-z][\w./-]+(?:@[\w.-]+)?)"
)
_LINKED = re.compile(r"\bpypi\.org/project/([\w.-]+)|\bnpmjs\.com/package/((?:@[\w.-]+/)?[\w.-]+)")
_SCOPED = re.compile(r"(?<![\w./@-])(@[a-z0-9][\w.-]*/[a-z0-9][\w.-]*)(?:@([\w.-]+))?")
_ADDRESS = re.compile(
    r"https?://[^\s<>\"'`)\]\uff0c\u3002\uff1b\u3001\uff09】]{1,300}/(?:mcp|sse)\b(?:/[^\s<>\"'`)\]\uff0c\u3002\uff1b\u3001\uff09】]*)?"
)
_SENTENCE_END = re.compile(r"[.!?]\s|[\u3002\uff01\uff1f]")
_VERSION = re.compile(r"^(@?[^@=<>~!\[\s]+)(?:\[[^\]]*\])?(?:@|==)?(.*)$")


@dataclass(frozen=True)
class Included:
    """The configuration that an idea has in it."""

    config: McpConfig
    problems: list[str]


def read_idea(body: dict[str, Any]) -> Idea:
    """Make an idea of a document: `{"description": …}`, or one that has a name and may have a configuration.

    Where it has none, the commands and addresses that the description names are one.
    """
    text = body.get("description")
    if not isinstance(text, str) or has_config(body):
        return Idea.model_validate(body)
    found = _written_config(text) or _named_servers(text)
    idea = {"name": _title(text), **body, "description": text[:LONGEST_IDEA]}
    return Idea.model_validate(idea | ({"config": found} if found else {}))


def has_config(body: dict[str, Any]) -> bool:
    """Tell whether a document has a configuration of its own, not only words that may name one."""
    return bool(_PLACES & body.keys())


def included_config(idea: Idea) -> Included:
    """Read the configuration that an idea has in it, in whichever form."""
    extra = idea.model_extra or {}
    nested = extra.get("config")
    given = nested if isinstance(nested, dict) else extra
    try:
        return Included(McpConfig.model_validate(_normal(given)), [])
    except NoServer as reason:
        return Included(McpConfig(), [f"server.json: {reason}"])
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        return Included(McpConfig(), [short(problem) for problem in problems[:_PROBLEMS]])
    except (TypeError, AttributeError, KeyError):
        return Included(McpConfig(), ["the configuration has another form than any that is known"])


def without_credentials(config: McpConfig) -> dict[str, Any]:
    """Give a configuration for a trial: plain credentials become `${NAME}`, which stand for nothing there."""
    body = config.model_dump(mode="json", exclude_unset=True)
    for server in body.get("servers", []):
        for found in plain_credentials(server):
            server[found.field][found.name] = f"${{{next(found.secret_names('trial'))}}}"
    return body


def packages_of(idea: Idea, config: McpConfig) -> list[PackageUse]:
    """List the packages that the servers of a configuration run, and those that the words name."""
    found: dict[tuple[Registry, str], PackageUse] = {}
    for server in config.servers:
        if question := package_of(server):
            found.setdefault(_key(question), PackageUse(question=question, server=server.name))
    text = f"{idea.name}\n{idea.description}"
    for pattern in (_INSTALLED, _LINKED):
        for pypi, npm in pattern.findall(text):
            _add(found, Registry.PYPI if pypi else Registry.NPM, (pypi or npm).rstrip("."))
    for name, version in _SCOPED.findall(text):
        _add(found, Registry.NPM, f"{name}@{version}" if version else name)
    return list(found.values())[:_PACKAGES]


def search_text(idea: Idea, packages: list[PackageUse]) -> str:
    """Give what to look for in catalogues."""
    names = [use.question.name for use in packages]
    values = [str(value) for value in idea.requirements.values() if isinstance(value, str | list)]
    return " ".join([idea.name, *names, *values, idea.description])[:_SEARCHED]


def _add(found: dict[tuple[Registry, str], PackageUse], registry: Registry, spec: str) -> None:
    match = _VERSION.match(spec)
    if match is None or not is_package_name(registry, match[1]):
        return
    version = match[2].strip()
    pinned = version if re.fullmatch(r"v?\d[\w.+-]*", version) else None
    question = PackageQuestion(registry=registry, name=match[1], version=pinned)
    found.setdefault(_key(question), PackageUse(question=question))


def _key(question: PackageQuestion) -> tuple[Registry, str]:
    return question.registry, normal_name(question.name)


def _normal(given: dict[str, Any]) -> dict[str, Any]:
    """Give `servers` and `tools` as in an MCP's configuration."""
    if isinstance(given.get("mcpServers"), dict):
        return {"servers": _entries(given["mcpServers"])}
    if isinstance(given.get("servers"), dict):
        # As VS Code writes it down.
        return {"servers": _entries(given["servers"])}
    if isinstance(given.get("packages"), list) or isinstance(given.get("remotes"), list):
        return read_config("server", given)
    return {key: given[key] for key in ("servers", "tools") if key in given}


def _entries(servers: dict[str, Any]) -> list[Any]:
    return [read_server(key, entry) if isinstance(entry, dict) else entry for key, entry in servers.items()]


def _title(text: str) -> str:
    """Give the first sentence of a text, cut to a title."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    return short(_SENTENCE_END.split(first.strip("# \t"), maxsplit=1)[0].rstrip(" :\uff1a"), 80) or "An idea"


def _written_config(text: str) -> dict[str, Any] | None:
    """Find a configuration that is written into the text as JSON."""
    quoted = (part[part.find("{") :].strip() for part in text.split("```")[1::2][:_FENCES] if "{" in part)
    for candidate in [*quoted, text.strip()]:
        if not (candidate.startswith("{") and candidate.endswith("}")):
            continue
        try:
            found = plain_json(json.loads(candidate))
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict) and {"mcpServers", "servers", "packages", "remotes"} & found.keys():
            return found
    return None


def _named_servers(text: str) -> dict[str, Any] | None:
    """Make servers of the commands and addresses that the text names."""
    servers = [_command(match[1].split()) for match in _COMMAND.finditer(text)]
    if not servers:
        servers = [
            {"command": match[1], "args": [*(match[2] or "").split(), match[3]]}
            for match in _IN_PROSE.finditer(text)
        ]
    servers += [{"url": match[0].rstrip(".,;")} for match in _ADDRESS.finditer(text)]
    if not servers:
        return None
    return {"servers": [{"name": f"named-{n}", **each} for n, each in enumerate(servers[:3], 1)]}


def _command(words: list[str]) -> dict[str, Any]:
    return {"command": words[0], "args": words[1:]}
