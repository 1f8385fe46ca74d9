"""Entries of a registry of MCP servers: what strangers published, read as known servers.

Only what the platform can run or reach as it stands is taken: packages of PyPI and npm that speak over
standard input and output, and remote servers at https addresses. What else a publisher may say, such as
options for the program that runs the package, is not.
"""

import hashlib
import re
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from mcp_platform.contracts.base import Moment
from mcp_platform.contracts.checks import Registry
from mcp_platform.contracts.config_drafts import checked_variable
from mcp_platform.contracts.exchange import OFFICIAL
from mcp_platform.contracts.images import NPM_PATTERN, PYPI_PATTERN
from mcp_platform.contracts.known import KnownServer, NeededSecret, RegistryPage, RegistryServer
from mcp_platform.contracts.mcps import McpConfig
from mcp_platform.formats.server_json import NoServer, read_config

_LONGEST_NAME: Final = 200
_LONGEST_SLUG: Final = 90
_LONGEST_TEXT: Final = 2_000
_MOST: Final = 50
"""Packages, remotes, arguments and variables of one server."""
_HARMLESS: Final = {"-y", "--yes"}
_PATTERNS: Final = {Registry.PYPI: PYPI_PATTERN, Registry.NPM: NPM_PATTERN}
_VERSION: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9.+!_-]{0,63}$")
_SAID_BY_ALL: Final = {"mcp", "server", "servers", "the", "official", "ai", "com", "io", "api"}
_MOMENT: Final[TypeAdapter[Any]] = TypeAdapter(Moment)


def read_page(body: Any) -> RegistryPage:
    """Read a page of `GET /v0.1/servers`; entries that are of no use are counted.

    Raises:
        ValueError: It is no such page.
    """
    if not isinstance(body, dict) or not isinstance(body.get("servers"), list):
        raise ValueError("it has no list of servers")
    servers: list[RegistryServer] = []
    gone: list[str] = []
    refused = 0
    moments = []
    for entry in body["servers"]:
        try:
            moments += _changed(entry)
            if _state(entry).get("status") == "deleted":
                gone.append(_name(entry["server"]))
            elif _state(entry).get("isLatest", True) is not False:
                servers.append(read_entry(entry["server"]))
        except (NoServer, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            refused += 1
    metadata = body.get("metadata")
    cursor = metadata.get("nextCursor") if isinstance(metadata, dict) else None
    return RegistryPage(
        servers=servers,
        gone=gone,
        refused=refused,
        newest=max(moments, default=None),
        next_cursor=cursor if isinstance(cursor, str) and cursor else None,
    )


def read_entry(file: dict[str, Any]) -> RegistryServer:
    """Read a `server.json` as a known server.

    Raises:
        NoServer: Nothing in it can be run or reached from here.
        ValueError: It is malformed.
    """
    name = _name(file)
    title = _text(file.get("title")) or name.rpartition("/")[2]
    described = {
        "slug": _slug(name),
        "name": title[:_LONGEST_NAME],
        "description": _text(file.get("description")),
        "keywords": _keywords(title),
        "homepage": _homepage(file),
        "origin": "registry",
    }
    reasons = []
    for read, field in ((_package, "packages"), (_remote, "remotes")):
        for each in (file.get(field) or [])[:_MOST]:
            try:
                server = KnownServer.model_validate(described | read(each))
                McpConfig.model_validate(server.config())
            except (NoServer, ValidationError) as error:
                reasons.append(str(error))
            else:
                return RegistryServer(name=name, server=server)
    raise NoServer("; ".join(reasons) or "it has no packages and no remotes")


def _package(package: dict[str, Any]) -> dict[str, Any]:
    registry = Registry(package["registryType"])
    identifier, version = str(package["identifier"]), package.get("version")
    if not re.fullmatch(_PATTERNS[registry], identifier) or re.search(r"[=<>~!\[ ]", identifier):
        raise NoServer(f"{identifier!r} is no name of a package")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise NoServer("it names no version")
    options = {str(each.get("value") or each.get("name")) for each in package.get("runtimeArguments") or []}
    if options - _HARMLESS:
        raise NoServer("it wants options for the program that runs it")
    bare = {name: value for name, value in package.items() if name != "runtimeArguments"}
    read = read_config("it", {"packages": [bare]})["servers"][0]
    pinned = f"{identifier}=={version}" if registry is Registry.PYPI else f"{identifier}@{version}"
    args = [pinned if arg == f"{identifier}@{version}" else arg for arg in read["args"]]
    env: dict[str, str] = read.get("env", {})
    if max(len(args), len(env)) > _MOST or any(len(text) > _LONGEST_TEXT for text in [*args, *env.values()]):
        raise NoServer("it has too many arguments or variables, or too long ones")
    secrets = _secrets(package)
    return {
        "registry": registry,
        "package": identifier,
        "version": version,
        "command": read["command"],
        "args": args,
        "env": {checked_variable(name): value for name, value in env.items() if name not in secrets},
        "secrets": list(secrets.values()),
    }


def _secrets(package: dict[str, Any]) -> dict[str, NeededSecret]:
    found = {}
    for each in (package.get("environmentVariables") or [])[:_MOST]:
        if each.get("isSecret"):
            name = checked_variable(str(each["name"]))
            what = _text(each.get("description"))[:300]
            found[name] = NeededSecret(name=name, what=what, required=bool(each.get("isRequired")))
    return found


def _remote(remote: dict[str, Any]) -> dict[str, Any]:
    url = str(remote["url"])
    if not url.startswith("https://") or len(url) > _LONGEST_TEXT or re.search(r"[@{}\s]", url):
        raise NoServer("its address is no plain https:// one")
    return {"url": url}


def _name(file: dict[str, Any]) -> str:
    name = file["name"]
    if not isinstance(name, str) or not re.fullmatch(r"[a-zA-Z0-9._-]+/[a-zA-Z0-9._-]+", name):
        raise ValueError("its name is none of the registry's")
    if len(name) > _LONGEST_NAME:
        raise ValueError("its name is too long")
    return name


def _slug(name: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if len(slug) <= _LONGEST_SLUG:
        return slug
    return f"{slug[:_LONGEST_SLUG]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _keywords(title: str) -> list[str]:
    """Take the title for a name, without the words that every title has."""
    words = [word for word in re.findall(r"[^\W_]+", title) if word.lower() not in _SAID_BY_ALL]
    said = " ".join(words)[:100]
    return [said[:1].upper() + said[1:]] if said else []


def _homepage(file: dict[str, Any]) -> str | None:
    repository = file.get("repository")
    given = file.get("websiteUrl") or (repository.get("url") if isinstance(repository, dict) else None)
    return given if isinstance(given, str) and given.startswith("https://") and len(given) < 500 else None


def _text(value: object) -> str:
    """Give a text that can be stored and shown: half characters and control characters are left out."""
    if not isinstance(value, str):
        return ""
    clean = value[:_LONGEST_TEXT].encode("utf-8", "ignore").decode("utf-8")
    return " ".join("".join(each if each.isprintable() else " " for each in clean).split())


def _state(entry: dict[str, Any]) -> dict[str, Any]:
    meta = entry.get("_meta") or {}
    state: dict[str, Any] = meta.get(OFFICIAL) or {}
    return state


def _changed(entry: dict[str, Any]) -> list[Any]:
    told = _state(entry).get("updatedAt") or _state(entry).get("publishedAt")
    try:
        return [] if told is None else [_MOMENT.validate_python(told)]
    except ValidationError:
        return []
