"""`mcpServers` files: how Claude, Cursor, VS Code and most other clients keep their servers."""

import re
from typing import Any

_FOREIGN = re.compile(r"\$\{(?:env:|input:)?([A-Za-z_][A-Za-z0-9_-]*)(?::-[^}]*)?\}")
_OTHER_URLS = ("serverUrl", "httpUrl")


def read_server(key: str, entry: dict[str, Any]) -> dict[str, Any]:
    """Make an entry of `config.servers` out of one of a file; what is unknown here is kept.

    Other programs' references, such as `${env:NAME}` and `${input:name}`, become `${NAME}`.
    """
    fields = dict(entry)
    name = fields.pop("name", key)
    for other in _OTHER_URLS:
        if other in fields and "url" not in fields:
            fields["url"] = fields.pop(other)
    plain: dict[str, Any] = _with_our_references(fields)
    return {"name": name, **plain}


def write_server(key: str, server: dict[str, Any]) -> dict[str, Any]:
    """Make an entry of a file out of one of `config.servers`; its name only where that is not the key."""
    fields = {name: value for name, value in server.items() if name != "name"}
    name = server.get("name", "default")
    return fields if name == key else {"name": name, **fields}


def write_servers(slug: str, config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Give a file's entries for an MCP: one under its slug, or one for each server."""
    servers = config.get("servers", [])
    if len(servers) == 1:
        return {slug: write_server(slug, servers[0])}
    entries = {}
    for server in servers:
        key = f"{slug}-{server.get('name', 'default')}"
        entries[key] = write_server(key, server)
    return entries


def _with_our_references(value: Any) -> Any:
    match value:
        case str():
            return _FOREIGN.sub(_our_reference, value)
        case list():
            return [_with_our_references(item) for item in value]
        case dict():
            return {name: _with_our_references(item) for name, item in value.items()}
    return value


def _our_reference(match: re.Match[str]) -> str:
    name = match[1]
    if match[0].startswith("${input:"):
        # Inputs are named in words; `api-key` becomes `API_KEY`.
        name = name.upper()
    return f"${{{name.replace('-', '_')}}}"
