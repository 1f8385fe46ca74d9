"""Definitions written back: in the format of the file that they came from, changed as little as can be."""

import json
from typing import Any, Final

from activities.github_sync.definitions import read_definitions
from mcp_platform.contracts.exchange import PUBLISHER
from mcp_platform.contracts.mcps import Mcp
from mcp_platform.contracts.syncing import FoundDefinition
from mcp_platform.differences import differences
from mcp_platform.formats.credentials import credential_places
from mcp_platform.formats.documents import Unreadable, read_json, read_yaml
from mcp_platform.formats.edited import edited_json, edited_yaml
from mcp_platform.formats.entries import slug_of
from mcp_platform.formats.mcp_servers import read_server, write_server
from mcp_platform.formats.server_json import read_config, whole_config, write_packages, write_remotes

_YAML: Final = (".yaml", ".yml")
_LONGEST_DESCRIPTION: Final = 100
"""Of a `server.json`, by its schema."""
_PACKAGE_FIELDS: Final = frozenset(
    {"version", "runtimeHint", "runtimeArguments", "packageArguments", "environmentVariables", "transport"}
)


class NotWritten(Exception):
    """An MCP cannot be written into a file; the message says why."""


def new_path(slug: str, below: str) -> str:
    """Say where an MCP is written that has no definition yet."""
    if below.endswith((".json", *_YAML)):
        return below
    return f"{below}/.mcp/{slug}.json" if below else f".mcp/{slug}.json"


def new_definition(path: str, mcp: Mcp, config: dict[str, Any]) -> str:
    """Write an MCP into a file of its own, in the platform's format, which says all of it.

    Raises:
        NotWritten: A credential stands in it in plain.
    """
    _check_credentials(config)
    fields = {"name": mcp.name, "slug": mcp.slug, "description": mcp.description, "version": mcp.version}
    document = {**fields, **({"tags": mcp.tags} if mcp.tags else {}), "config": config}
    return (
        edited_yaml("", document)
        if path.endswith(_YAML)
        else f"{json.dumps(document, indent=2, ensure_ascii=False)}\n"
    )


def rendered(path: str, entry: str, text: str, mcp: Mcp, config: dict[str, Any]) -> str:
    """Give a file's text with an MCP's definition as the platform has it.

    Raises:
        NotWritten: The file's format cannot say it, the file is no definition any more, or a credential
            stands in the configuration in plain.
    """
    _check_credentials(config)
    yaml = path.endswith(_YAML)
    try:
        document = read_yaml(text) if yaml else read_json(text)
    except Unreadable as error:
        raise NotWritten(f"{path} {error}") from None
    if not isinstance(document, dict):
        raise NotWritten(f"{path} is no object")
    changed = _changed(document, entry, mcp, config)
    written = edited_yaml(text, changed) if yaml else edited_json(text, changed)
    _check_reading(path, entry, written, mcp, config)
    return written


def _check_credentials(config: dict[str, Any]) -> None:
    if places := credential_places(config):
        raise NotWritten(
            f"a credential stands in its configuration in plain ({', '.join(places)}), and a repository is no"
            " place for one: store it as a secret, and put ${NAME} there"
        )


def _check_reading(path: str, entry: str, written: str, mcp: Mcp, config: dict[str, Any]) -> None:
    """See that whoever reads the file finds what the platform has."""
    for found in read_definitions(path, written.encode()):
        if found.entry != entry:
            continue
        if isinstance(found, FoundDefinition) and _same(found.config, config):
            return
        reason = "its format cannot say it" if isinstance(found, FoundDefinition) else found.reason
        raise NotWritten(f"{mcp.slug} cannot be written to {path}: {reason}")
    raise NotWritten(f"{mcp.slug} cannot be written to {path}: its format cannot say it")


def _changed(document: dict[str, Any], entry: str, mcp: Mcp, config: dict[str, Any]) -> dict[str, Any]:
    if not entry and isinstance(document.get("config"), dict):
        said = {"name": mcp.name, "description": mcp.description, "version": mcp.version, "tags": mcp.tags}
        kept = {name: value for name, value in said.items() if name in document}
        return {**document, **kept, "config": config}
    if not entry:
        return _server_json(document, mcp, config)
    for group in ("mcpServers", "servers"):
        entries = document.get(group)
        if isinstance(entries, dict) and isinstance(entries.get(entry), dict):
            return {**document, group: {**entries, entry: _server(entry, entries[entry], mcp, config)}}
    raise NotWritten(f"the file has no entry {entry!r} any more; sync first")


def _server(key: str, old: dict[str, Any], mcp: Mcp, config: dict[str, Any]) -> dict[str, Any]:
    """Write the one server of a configuration as an entry of `mcpServers`."""
    servers = config.get("servers") or []
    others = sorted(name for name, value in config.items() if name != "servers" and value)
    if len(servers) != 1 or others:
        has = f"{len(servers)} servers" if len(servers) != 1 else f"{', '.join(others)} too"
        raise NotWritten(
            f"{mcp.slug} has {has}, and an entry of mcpServers holds one server alone: write it in the"
            " platform's own format (an object with slug and config)"
        )
    new = write_server(key, servers[0])
    for other in ("serverUrl", "httpUrl"):
        if other in old and "url" not in old and "url" in new:
            new[other] = new.pop("url")
    return {name: _kept(old[name], value) if name in old else value for name, value in new.items()}


def _kept(old: Any, new: Any) -> Any:
    """Give the new value, with what means the same written as it was: `${env:NAME}` for `${NAME}`."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {name: _kept(old[name], value) if name in old else value for name, value in new.items()}
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [_kept(before, after) for before, after in zip(old, new, strict=True)]
    if isinstance(old, str) and read_server("", {"value": old})["value"] == new:
        return old
    return new


def _server_json(document: dict[str, Any], mcp: Mcp, config: dict[str, Any]) -> dict[str, Any]:
    new = {**document, "version": mcp.version}
    if "title" in document:
        new["title"] = mcp.name
    if "description" in document and 0 < len(mcp.description) <= _LONGEST_DESCRIPTION:
        new["description"] = mcp.description
    try:
        same = _same(read_config(mcp.slug, document), config)
    except (ValueError, AttributeError, KeyError, TypeError):
        same = False
    return new if same else _with_config(new, mcp, config)


def _with_config(document: dict[str, Any], mcp: Mcp, config: dict[str, Any]) -> dict[str, Any]:
    packages = [_package(document, each) for each in write_packages(config)]
    written = {"packages": packages, "remotes": write_remotes(config)}
    slug = slug_of(str(document.get("name", "")).rpartition("/")[2]) or mcp.slug
    meta = _meta(document, whole_config(slug, config, written) or {})
    changed = {**document, **written, "_meta": meta}
    return {name: value for name, value in changed.items() if value or name not in (*written, "_meta")}


def _meta(document: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """Give a file's `_meta` with what we have to say there, in place of what we said before."""
    known = document.get("_meta")
    meta = dict(known) if isinstance(known, dict) else {}
    publisher = meta.get(PUBLISHER)
    said = dict(publisher) if isinstance(publisher, dict) else {}
    said.pop("mcp-platform", None)
    said |= ours.get(PUBLISHER, {})
    others = {name: value for name, value in meta.items() if name != PUBLISHER}
    return {**others, PUBLISHER: said} if said else others


def _package(document: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Keep what a file says besides of the same package."""
    for old in document.get("packages") or []:
        same = isinstance(old, dict) and all(old.get(n) == new.get(n) for n in ("registryType", "identifier"))
        if same:
            return {**{name: value for name, value in old.items() if name not in _PACKAGE_FIELDS}, **new}
    return new


def _same(one: Any, other: Any) -> bool:
    return next(differences(one, other), None) is None
