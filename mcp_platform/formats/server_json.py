"""`server.json`: how the official registry describes a server (schema of 2025-12-11)."""

import re
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from mcp_platform.contracts.exchange import PUBLISHER
from mcp_platform.variables import references

_OURS = "mcp-platform"
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_VARIABLE = re.compile(r"\{([^{}]+)\}")
_RUNNERS = {"npm": "npx", "pypi": "uvx"}
_YES = ("-y", "--yes")
_WANTS_VALUE = {"format", "placeholder", "choices", "isRequired"}
_NEEDED = {"isRequired": True, "isSecret": True}


class NoServer(ValueError):
    """Nothing in a `server.json` can be run or reached from here; the message says why."""


def read_config(slug: str, file: dict[str, Any]) -> dict[str, Any]:
    """Make a configuration out of a `server.json`.

    Each package and each remote is one entry of `config.servers`. A file that the platform wrote itself
    may hold the configuration whole.

    Raises:
        NoServer: There is nothing that can be run or reached from here.
    """
    whole = _whole_config(file)
    if whole is not None:
        return whole
    servers: list[tuple[str, dict[str, Any]]] = []
    refused: list[str] = []
    for package in file.get("packages") or []:
        try:
            servers.append((str(package["registryType"]), _run(package)))
        except NoServer as reason:
            refused.append(str(reason))
    servers += [("remote", _reach(remote)) for remote in file.get("remotes") or []]
    if not servers:
        raise NoServer("; ".join(refused) or "it has no packages and no remotes")
    if len(servers) == 1:
        return {"servers": [{"name": slug, **servers[0][1]}]}
    return {"servers": [{"name": name, **fields} for name, fields in _numbered(servers)]}


def write_packages(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Describe those servers that are packages of a registry, or images."""
    found = (_package(server) for server in config.get("servers", []))
    return [package for package in found if package is not None]


def write_remotes(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Describe those servers that are at an address; a plain HTTP API is none that clients could reach."""
    servers = config.get("servers", [])
    return [_remote(server) for server in servers if server.get("url") and server.get("type") != "rest"]


def whole_config(slug: str, config: dict[str, Any], written: dict[str, Any]) -> dict[str, Any] | None:
    """Give what `_meta` has to hold so that nothing is lost; None if the format says it all."""
    try:
        if read_config(slug, written) == config:
            return None
    except NoServer:
        pass
    return {PUBLISHER: {_OURS: {"config": config}}}


def _whole_config(file: dict[str, Any]) -> dict[str, Any] | None:
    found: Any = file.get("_meta")
    for name in (PUBLISHER, _OURS, "config"):
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else None


def _numbered(servers: list[tuple[str, dict[str, Any]]]) -> Iterator[tuple[str, dict[str, Any]]]:
    seen: dict[str, int] = {}
    for name, fields in servers:
        seen[name] = seen.get(name, 0) + 1
        yield (name if seen[name] == 1 else f"{name}-{seen[name]}"), fields


def _run(package: dict[str, Any]) -> dict[str, Any]:
    """Make a server out of a package."""
    kind, identifier = package.get("registryType"), package.get("identifier", "")
    if package.get("transport", {}).get("type", "stdio") != "stdio":
        raise NoServer(f"the {kind} package {identifier} does not speak over standard input and output")
    arguments = list(_arguments(package.get("packageArguments")))
    runtime = list(_arguments(package.get("runtimeArguments")))
    fields: dict[str, Any]
    if kind == "oci":
        fields = {"image": _image(identifier, package.get("version"))}
        if runtime:
            fields["runtimeArguments"] = runtime
    elif kind in _RUNNERS:
        version = package.get("version")
        if kind == "npm" and not set(_YES) & set(runtime):
            runtime = ["-y", *runtime]
        arguments = [*runtime, f"{identifier}@{version}" if version else identifier, *arguments]
        fields = {"command": _RUNNERS[kind]}
    else:
        raise NoServer(f"packages of the kind {kind} cannot be run; npm, pypi and oci can")
    if arguments:
        fields["args"] = arguments
    if env := _named_values(package.get("environmentVariables")):
        fields["env"] = env
    return fields


def _reach(remote: dict[str, Any]) -> dict[str, Any]:
    """Make a server out of a remote."""
    fields: dict[str, Any] = {"url": _filled(remote.get("url", ""), remote.get("variables", {}))}
    if remote.get("type") == "sse":
        fields["type"] = "sse"
    if headers := _named_values(remote.get("headers")):
        fields["headers"] = headers
    return fields


def _image(identifier: str, version: str | None) -> str:
    tagged = "@" in identifier or ":" in identifier.rpartition("/")[2]
    return identifier if tagged or not version else f"{identifier}:{version}"


def _arguments(inputs: list[dict[str, Any]] | None) -> Iterator[str]:
    for each in inputs or []:
        named = each.get("type") == "named"
        value = _value(each, each.get("name" if named else "valueHint", "").lstrip("-"))
        name = each.get("name", "")
        if not named:
            if value is not None:
                yield value
        elif value is None:
            # A flag by itself says something; an optional one that wants a value does not.
            if not _WANTS_VALUE & each.keys():
                yield name
        elif name.startswith("--"):
            yield f"{name}={value}"
        else:
            yield from (name, value)


def _named_values(inputs: list[dict[str, Any]] | None) -> dict[str, str]:
    found = {}
    for each in inputs or []:
        value = _value(each, each.get("name", ""))
        if value is not None:
            found[each.get("name", "")] = value
    return found


def _value(given: dict[str, Any], name: str) -> str | None:
    """Give what an input stands for; None for an optional one that nobody has chosen."""
    if "value" in given:
        return _filled(given["value"], given.get("variables", {}))
    if given.get("default") is not None:
        return str(given["default"])
    needed = given.get("isRequired") or given.get("isSecret")
    return _reference(name) if needed and name else None


def _filled(text: str, variables: dict[str, dict[str, Any]]) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] not in variables:
            return match[0]
        chosen = variables[match[1]]
        found = chosen.get("value", chosen.get("default"))
        return _reference(match[1]) if found is None else str(found)

    return _VARIABLE.sub(value, text)


def _reference(name: str) -> str:
    cleaned = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return f"${{_{cleaned}}}" if cleaned[:1].isdigit() else f"${{{cleaned}}}"


def _package(server: dict[str, Any]) -> dict[str, Any] | None:
    args = list(server.get("args", []))
    written: dict[str, Any] = {"transport": {"type": "stdio"}}
    if image := server.get("image"):
        written |= {"registryType": "oci", "identifier": image}
    else:
        program = PurePath(server.get("command") or "").name
        kind = next((kind for kind, runner in _RUNNERS.items() if runner == program), None)
        place = next((place for place, arg in enumerate(args) if not arg.startswith("-")), None)
        if kind is None or place is None:
            return None
        runtime, specifier, args = args[:place], args[place], args[place + 1 :]
        identifier, _, version = specifier.rpartition("@") if "@" in specifier[1:] else (specifier, "", "")
        written |= {"registryType": kind, "identifier": identifier, "runtimeHint": program}
        if version and version != "latest":
            written["version"] = version
        if runtime:
            written["runtimeArguments"] = [_positional(arg) for arg in runtime]
    if args:
        written["packageArguments"] = [_positional(arg) for arg in args]
    if env := server.get("env"):
        written["environmentVariables"] = [_named(name, value) for name, value in env.items()]
    return written


def _remote(server: dict[str, Any]) -> dict[str, Any]:
    kind = "sse" if server.get("type") == "sse" else "streamable-http"
    address = _input(server["url"])
    written: dict[str, Any] = {"type": kind, "url": address["value"]}
    if "variables" in address:
        written["variables"] = address["variables"]
    if headers := server.get("headers"):
        written["headers"] = [_named(name, value) for name, value in headers.items()]
    return written


def _positional(value: str) -> dict[str, Any]:
    return {"type": "positional", **_input(value)}


def _named(name: str, value: str) -> dict[str, Any]:
    if value == _reference(name):
        return {"name": name, **_NEEDED}
    return {"name": name, **_input(value)}


def _input(value: str) -> dict[str, Any]:
    """Write a value, with what it refers to as variables that whoever uses it has to give."""
    names = sorted(references(value))
    if not names:
        return {"value": value}
    return {
        "value": _REFERENCE.sub(r"{\1}", value),
        "variables": {name: dict(_NEEDED) for name in names},
    }
