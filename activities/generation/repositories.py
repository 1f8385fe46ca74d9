"""What the files of a repository say of the MCP server in it. All of them are data: nothing is run."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tomllib import TOMLDecodeError, loads
from typing import Any, Final
from urllib.parse import urlsplit

from activities.building import BuildFailed
from activities.generation.files import Files
from mcp_platform.contracts.base import plain_json
from mcp_platform.formats.documents import read_json, read_yaml
from mcp_platform.formats.mcp_servers import read_server
from mcp_platform.formats.server_json import NoServer, read_config

_DEFINITIONS: Final = ("server.json", "mcp.json", ".mcp.json", "mcp_settings.json", ".vscode/mcp.json")
_READMES: Final = ("README.md", "readme.md", "README.rst", "README.txt", "README")
_FENCED: Final = re.compile(r"^[ \t]*(```|~~~)[^\n]*\n(.*?)^[ \t]*\1", re.DOTALL | re.MULTILINE)
_ABOUT_MCP: Final = re.compile(r"\bmcp\b|fastmcp|modelcontextprotocol", re.IGNORECASE)
_LAUNCHERS: Final = frozenset({"uvx", "npx", "pipx"})
"""Programs that fetch what they run, and so run from anywhere."""
_LOCAL: Final = frozenset({"python", "python3", "node", "uv", "npm"})
"""Programs that run files of the repository, which the image of a deployment has."""
GIT_TOKEN: Final = "GIT_TOKEN"  # noqa: S105 - a name
"""The secret with which a private repository is read when the server's image is built."""
_MOST_ENTRIES: Final = 20
_MOST_IN_FOLDER: Final = 20


@dataclass
class Found:
    """A configuration that a file of the repository says, or that was made of what it says."""

    file: str
    config: dict[str, Any]
    how: str
    name: str = ""
    description: str = ""
    secrets: dict[str, str] = field(default_factory=dict)


@dataclass
class Repository:
    """What the files of a repository say.

    Args:
        url: Where it is.
        commit: Which state of it was read.
        private: Whether it was read with a token.
        path: The folder of it that was read.
    """

    url: str
    commit: str
    private: bool = False
    path: str | None = None
    found: list[Found] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Why other files did not do."""
    description: str = ""
    readme: str = ""

    @property
    def name(self) -> str:
        """The last part of its address, or of the folder's path."""
        last = self.path or urlsplit(self.url).path.rstrip("/").removesuffix(".git")
        return last.rpartition("/")[2]

    @property
    def git(self) -> dict[str, Any]:
        """What the image of a server in it is built from."""
        path = {"path": self.path} if self.path else {}
        token = {"token": f"${{{GIT_TOKEN}}}"} if self.private else {}
        return {"git": {"url": self.url, "ref": self.commit, **path, **token}}


def read_repository(
    folder: Path, url: str, commit: str, *, private: bool = False, path: str | None = None
) -> Repository:
    """Read what the files of a repository, or of a folder of it, say, the clearest first.

    Raises:
        BuildFailed: There is no such folder.
    """
    repository = Repository(url, commit, private, path)
    if path is not None:
        inner = (folder / path).resolve()
        if not inner.is_dir() or not inner.is_relative_to(folder.resolve()):
            raise BuildFailed(f"the repository {url} has no folder {path}")
        folder = inner
    files = Files(folder)
    repository.readme = next((text for name in _READMES if (text := files.text(name))), "")
    for read in (_definitions, _python, _node, _readme):
        for found in _carefully(read, repository, files):
            if all(found.config != other.config for other in repository.found):
                repository.found.append(found)
    if files.text("Dockerfile") is not None:
        repository.notes.append(
            "Dockerfile: the platform builds no Dockerfiles; push the image that it makes,"
            " and register that as `image`"
        )
    _share_secrets(repository)
    return repository


def read_blocks(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the entries of `mcpServers` blocks in a text of Markdown that run from anywhere."""
    for block in _FENCED.finditer(text):
        body = block[2].strip()
        if "mcpServers" not in body and '"servers"' not in body:
            continue
        for candidate in (body, f"{{{body.rstrip(',')}}}"):
            try:
                parsed = plain_json(json.loads(candidate))
            except (ValueError, RecursionError):
                continue
            for key, entry in _entries(parsed):
                if entry.get("url") or _program(entry) in _LAUNCHERS:
                    yield key, entry
            break


_Reader = Callable[[Repository, Files], Iterator[Found]]


def _carefully(read: _Reader, repository: Repository, files: Files) -> list[Found]:
    """Let a reader read; what it stumbles over is a note."""
    try:
        return list(read(repository, files))
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        repository.notes.append(f"{read.__name__.strip('_')}: cannot be read: {str(error)[:200]}")
        return []


def _definitions(repository: Repository, files: Files) -> Iterator[Found]:
    names = [*_DEFINITIONS, *files.names(".mcp", (".json", ".yaml", ".yml"))[:_MOST_IN_FOLDER]]
    for name in names:
        text = files.text(name)
        if text is None:
            continue
        try:
            body = read_json(text) if name.endswith(".json") else read_yaml(text)
            yield from _defined(repository, name, body)
        except (NoServer, ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
            repository.notes.append(f"{name}: {str(error)[:200] or type(error).__name__}")


def _defined(repository: Repository, file: str, body: Any) -> Iterator[Found]:
    if not isinstance(body, dict):
        raise ValueError("is no object")
    if "packages" in body or "remotes" in body or "_meta" in body:
        name = str(body.get("title") or str(body.get("name", "")).rpartition("/")[2])
        config = read_config(repository.name.lower() or "server", body)
        yield Found(file, config, file, name, str(body.get("description") or ""), _described(body))
    elif isinstance(body.get("servers"), list):
        yield Found(file, {"servers": body["servers"], "tools": body.get("tools", [])}, file)
    elif isinstance(body.get("config"), dict):
        # The platform's own format: the fields of `POST /api/v1/mcps`.
        told = str(body.get("name") or ""), str(body.get("description") or "")
        yield Found(file, body["config"], file, *told)
    else:
        servers = []
        for key, entry in list(_entries(body))[:_MOST_ENTRIES]:
            reason = _unusable(entry)
            if reason is not None:
                repository.notes.append(f"{file}: {key}: {reason}")
            else:
                servers.append(_here(repository, read_server(key, entry)))
        if servers:
            yield Found(file, {"servers": servers}, file)
        elif not any(note.startswith(f"{file}: ") for note in repository.notes):
            repository.notes.append(f"{file}: has no servers")


def _entries(body: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the entries of an `mcpServers` file, by their names."""
    if not isinstance(body, dict):
        return
    mcp = body.get("mcp")
    inner = mcp if isinstance(mcp, dict) else body
    for field_name in ("mcpServers", "servers"):
        named = inner.get(field_name)
        if isinstance(named, dict):
            for key, entry in named.items():
                if isinstance(entry, dict):
                    yield key, entry
            return
    if isinstance(body.get("command"), str) or isinstance(body.get("url"), str):
        yield str(body.get("name") or "server"), body


def _program(entry: dict[str, Any]) -> str:
    return str(entry.get("command") or "").replace("\\", "/").rpartition("/")[2]


def runs_anywhere(server: dict[str, Any]) -> bool:
    """Tell whether a command fetches what it runs, rather than that an image has to have it."""
    return _program(server) in _LAUNCHERS


def _unusable(entry: dict[str, Any]) -> str | None:
    if entry.get("url") or entry.get("serverUrl") or entry.get("httpUrl"):
        return None
    program = _program(entry)
    if program == "docker":
        return "runs docker itself; register the image as `image` instead"
    args = entry.get("args")
    if any("/path/to" in str(arg) for arg in args or []):
        return "names a path that everybody has to fill in"
    if program not in _LAUNCHERS | _LOCAL and "build" not in entry:
        return f"runs {program or 'nothing'}, which comes from neither a package nor this repository"
    return None


def _here(repository: Repository, server: dict[str, Any]) -> dict[str, Any]:
    """Say where the files are that a command runs."""
    if server.get("url") or runs_anywhere(server) or server.get("build"):
        return server
    return {**{name: value for name, value in server.items() if name != "cwd"}, "build": repository.git}


def _python(repository: Repository, files: Files) -> Iterator[Found]:
    text = files.text("pyproject.toml")
    if text is None:
        return
    try:
        project = loads(text).get("project")
    except TOMLDecodeError as error:
        raise ValueError(f"pyproject.toml: {error}") from None
    if not isinstance(project, dict):
        return
    name = str(project.get("name") or "")
    repository.description = repository.description or str(project.get("description") or "")
    if not _ABOUT_MCP.search(json.dumps([name, project.get("dependencies"), project.get("keywords")])):
        repository.notes.append("pyproject.toml: neither its name nor its dependencies have to do with MCP")
        return
    scripts = project.get("scripts")
    script = _chosen(scripts, name)
    if script is None:
        repository.notes.append("pyproject.toml: has no [project.scripts], so nothing to start")
        return
    folder = f"#subdirectory={repository.path}" if repository.path else ""
    source = f"git+{repository.url}@{repository.commit}{folder}"
    server = {
        "name": repository.name.lower() or "server",
        "command": "uvx",
        "args": ["--from", source, script],
        "build": repository.git,
    }
    description = str(project.get("description") or "")
    yield Found(
        "pyproject.toml", {"servers": [server]}, f"the script {script} of pyproject.toml", name, description
    )


def _node(repository: Repository, files: Files) -> Iterator[Found]:
    text = files.text("package.json")
    if text is None:
        return
    package = json.loads(text)
    name = str(package.get("name") or "")
    description = str(package.get("description") or "")
    repository.description = repository.description or description
    if not _ABOUT_MCP.search(json.dumps([name, package.get("dependencies"), package.get("keywords")])):
        repository.notes.append("package.json: neither its name nor its dependencies have to do with MCP")
        return
    short = name.rpartition("/")[2]
    commands = package.get("bin")
    command = _chosen({short: commands} if isinstance(commands, str) else commands, short)
    if command is None:
        repository.notes.append("package.json: has no bin, so nothing to start")
        return
    source = f"git+{repository.url}#{repository.commit}"
    server: dict[str, Any] = {"name": repository.name.lower() or "server"}
    if repository.path:
        # npm takes whole repositories only.
        server |= {"command": command, "build": repository.git}
    else:
        server |= {
            "command": "npx",
            "args": ["-y", f"--package={source}", command],
            "build": repository.git,
        }
    yield Found(
        "package.json", {"servers": [server]}, f"the command {command} of package.json", short, description
    )


def _chosen(commands: Any, name: str) -> str | None:
    """Choose the command that is named like the project, else one that speaks of MCP, else the first."""
    if not isinstance(commands, dict):
        return None
    usable = [each for each in commands if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", str(each))]
    ranked = sorted(usable, key=lambda each: (each != name, "mcp" not in each.lower()))
    return ranked[0] if ranked else None


def _readme(repository: Repository, _files: Files) -> Iterator[Found]:
    for key, entry in list(read_blocks(repository.readme))[:_MOST_ENTRIES]:
        if _unusable(entry) is None:
            yield Found("README", {"servers": [read_server(key, entry)]}, "a block of the README")


def _described(body: dict[str, Any]) -> dict[str, str]:
    """Give what a `server.json` says of the values that its server needs."""
    found = {}
    for package in body.get("packages") or []:
        for each in package.get("environmentVariables") or []:
            if isinstance(each.get("name"), str) and isinstance(each.get("description"), str):
                found[each["name"]] = each["description"][:300]
    return found


def _share_secrets(repository: Repository) -> None:
    """Give servers that were made of a project's files the variables that the README tells users to set."""
    told: dict[str, str] = {}
    for _, entry in read_blocks(repository.readme) if repository.readme else ():
        env = entry.get("env")
        if isinstance(env, dict):
            told |= {str(name): str(value) for name, value in env.items()}
    for found in repository.found:
        if found.file in ("pyproject.toml", "package.json") and told:
            found.config["servers"][0]["env"] = dict(told)
