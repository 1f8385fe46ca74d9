"""A whole document as the configuration of one MCP."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import ValidationError

from mcp_platform.contracts.mcps import ToolConfig
from mcp_platform.formats.openapi.document import NoOpenApi, References, Unresolved
from mcp_platform.formats.openapi.operations import Operation, ToolReader
from mcp_platform.formats.openapi.security import Credentials, Security

_METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_UNSUPPORTED: Final = frozenset({"HEAD", "TRACE"})
_MOST_TOOLS: Final = 500
_VARIABLE = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True)
class Choice:
    """Which operations become tools; without any word, all."""

    operations: Collection[str] | None = None
    """By `operationId`, or as `GET /pets`."""
    tags: Collection[str] | None = None
    without_operations: Collection[str] = ()
    without_tags: Collection[str] = ()

    def takes(self, operation: Operation) -> bool:
        """Tell whether an operation is meant."""
        names = {operation.id, operation.place}
        if names & set(self.without_operations) or operation.tags & set(self.without_tags):
            return False
        if self.operations is None and self.tags is None:
            return True
        return bool(names & set(self.operations or ()) or operation.tags & set(self.tags or ()))


@dataclass
class Reading:
    """What came of a document."""

    title: str
    description: str
    config: dict[str, Any] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    """Operations that are no tools, and parts of some that are not in theirs, with the reasons."""
    secrets: dict[str, str] = field(default_factory=dict)
    """What the secrets must be that the configuration refers to."""


def read_openapi(document: dict[str, Any], base_url: str | None, choice: Choice, prefix: str) -> Reading:
    """Make a configuration of a document.

    Args:
        document: As `read_document` gave it.
        base_url: Where the API is; None: where the document says.
        choice: Which operations are meant.
        prefix: What the names of secrets begin with.

    Raises:
        NoOpenApi: It does not say where the API is, or no operation can be a tool.
    """
    info = document.get("info")
    words = info if isinstance(info, dict) else {}
    reading = Reading(str(words.get("title") or "API"), str(words.get("description") or ""))
    url, references = base_url or _server_url(document), References(document)
    security = Security(document, references, prefix)
    tools: dict[str, dict[str, Any]] = {}
    carried: list[Credentials] = []
    for operation in _chosen(document, references, choice, reading):
        try:
            tool, left_out = _read(operation, references)
            credentials = security.of(operation.fields)
        except (Unresolved, ValidationError) as reason:
            reading.skipped[operation.place] = _told(reason)
            continue
        if len(tools) == _MOST_TOOLS:
            reading.skipped[operation.place] = f"an MCP has at most {_MOST_TOOLS} tools; choose by tags"
            continue
        if left_out:
            reading.skipped[f"{operation.place} (in part)"] = "left out: " + "; ".join(left_out)
        tool["name"] = _unique(tool["name"], tools)
        tools[tool["name"]] = tool
        carried.append(credentials)
        reading.secrets |= credentials.secrets
    if not tools:
        reasons = "; ".join(f"{place}: {why}" for place, why in list(reading.skipped.items())[:5])
        raise NoOpenApi(f"has no operation that can be a tool. {reasons}".strip())
    reading.config = _config(url, list(tools.values()), carried)
    return reading


def _chosen(
    document: dict[str, Any], references: References, choice: Choice, reading: Reading
) -> Iterator[Operation]:
    seen: set[str | None] = set()
    for operation in _operations(document, references, reading):
        seen |= {operation.id, operation.place}
        if choice.takes(operation):
            if operation.method in _UNSUPPORTED:
                reading.skipped[operation.place] = f"{operation.method} gives nothing that a tool could"
            else:
                yield operation
    for name in (*(choice.operations or ()), *choice.without_operations):
        if name not in seen:
            reading.skipped[name] = "the document has no such operation"


def _operations(document: dict[str, Any], references: References, reading: Reading) -> Iterator[Operation]:
    for path, given in document["paths"].items():
        if path.startswith("x-"):
            continue
        try:
            item = references.resolve(given)
        except Unresolved as reason:
            reading.skipped[path] = str(reason)
            continue
        shared = item.get("parameters")
        for method in _METHODS:
            fields = item.get(method)
            if not isinstance(fields, dict):
                continue
            operation = Operation(method.upper(), path, fields, shared if isinstance(shared, list) else [])
            if fields.get("servers") or item.get("servers"):
                reading.skipped[operation.place] = "it is served at an address of its own"
                continue
            yield operation


def _read(operation: Operation, references: References) -> tuple[dict[str, Any], list[str]]:
    try:
        tool, left_out = ToolReader(operation, references).read()
    except RecursionError:
        raise Unresolved("its schemas are nested too deeply") from None
    ToolConfig.model_validate(tool)
    return tool, left_out


def _told(reason: Unresolved | ValidationError) -> str:
    if isinstance(reason, Unresolved):
        return str(reason)
    return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in reason.errors())


def _unique(name: str, taken: Collection[str]) -> str:
    found, count = name, 1
    while found in taken:
        count += 1
        found = f"{name[: 63 - len(str(count))]}_{count}"
    return found


def _config(url: str, tools: list[dict[str, Any]], carried: list[Credentials]) -> dict[str, Any]:
    """Put tools and credentials together; headers that all tools would send are the server's."""
    first = carried[0].headers
    common = {n: v for n, v in first.items() if all(each.headers.get(n) == v for each in carried)}
    for tool, credentials in zip(tools, carried, strict=True):
        own = {name: value for name, value in credentials.headers.items() if name not in common}
        for part, added in (("headers", own), ("query", credentials.query)):
            if added:
                tool["request"][part] = {**tool["request"].get(part, {}), **added}
    server = {"name": "api", "type": "rest", "url": url, **({"headers": common} if common else {})}
    return {"servers": [server], "tools": tools}


def _server_url(document: dict[str, Any]) -> str:
    servers = document.get("servers")
    server = servers[0] if isinstance(servers, list) and servers and isinstance(servers[0], dict) else {}
    variables = server.get("variables")

    def value(match: re.Match[str]) -> str:
        variable = variables.get(match[1]) if isinstance(variables, dict) else None
        return str(variable.get("default", "")) if isinstance(variable, dict) else ""

    url = _VARIABLE.sub(value, str(server.get("url", "")))
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise NoOpenApi(f"does not say where the API is (servers: {url or 'none'}); give base_url")
    return url
