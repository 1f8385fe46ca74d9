"""What a server's image is built from, and what is run inside of it."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from mcp_platform.contracts.images import NPM_PATTERN, PYPI_PATTERN, BuildSource, SourceKind
from mcp_platform.contracts.mcps import ServerConfig

_PYPI = re.compile(PYPI_PATTERN)
_NPM = re.compile(NPM_PATTERN)

_EXAMPLES = (
    'give the server "build": {"pypi": ["mcp-server-time==2026.10.19"]}, {"npm": ["@scope/server@1.2.0"]},'
    ' {"requirements": "…"} or {"git": {"url": "https://…", "ref": "v1"}}'
)


class _Launch(NamedTuple):
    """A command that gets a package and runs it."""

    kind: SourceKind
    packages: list[str]
    """What is to be installed."""
    command: list[str]
    """What is run then."""
    main: str | None = None
    """The one of these packages that the command is in."""


class _Tool(NamedTuple):
    """A program that gets packages and runs one."""

    kind: SourceKind
    source: frozenset[str] = frozenset()
    """Options that say which package the command is in."""
    more: frozenset[str] = frozenset()
    """Options that name a further package."""
    flags: frozenset[str] = frozenset()
    """Options that change nothing here."""


_UVX = _Tool(
    SourceKind.PYPI,
    frozenset({"--from"}),
    frozenset({"--with", "-w"}),
    frozenset(
        {"--quiet", "-q", "--no-cache", "-n", "--refresh", "--isolated", "--no-progress", "-U", "--upgrade"}
    ),
)
_PIPX = _Tool(SourceKind.PYPI, frozenset({"--spec"}), frozenset(), frozenset({"--no-cache", "--quiet", "-q"}))
_NPX = _Tool(
    SourceKind.NPM,
    frozenset(),
    frozenset({"--package", "-p"}),
    frozenset({"--yes", "-y", "--quiet", "-q", "--prefer-online"}),
)

_LAUNCHERS: tuple[tuple[tuple[str, ...], _Tool], ...] = (
    (("uvx",), _UVX),
    (("uv", "tool", "run"), _UVX),
    (("pipx", "run"), _PIPX),
    (("npx",), _NPX),
    (("npm", "exec"), _NPX),
)


def build_source(server: ServerConfig) -> BuildSource:
    """Give what the server's image is built from.

    Raises:
        ValueError: It is not told, and cannot be worked out; the message says what to do.
    """
    build = server.build
    if build is None:
        launch = _launch(server)
        if launch is None:
            raise _unknown(server, f"what to install for the command {server.command!r} is not known")
        return BuildSource(kind=launch.kind, packages=launch.packages)
    _launch(server)
    if build.pypi is not None:
        return BuildSource(kind=SourceKind.PYPI, packages=build.pypi)
    if build.npm is not None:
        return BuildSource(kind=SourceKind.NPM, packages=build.npm)
    if build.requirements is not None:
        return BuildSource(kind=SourceKind.REQUIREMENTS, requirements=build.requirements)
    return BuildSource(kind=SourceKind.GIT, git=build.git)


def command_in_image(server: ServerConfig) -> list[str]:
    """Give the command that is run inside the image: `uvx X …` is `X …` there, for X is installed.

    Raises:
        ValueError: As for `build_source`.
    """
    launch = _launch(server)
    return launch.command if launch else [server.command or "", *server.args]


def launched_package(server: ServerConfig) -> tuple[SourceKind, str] | None:
    """Give the package that a command gets and runs, as it is asked for; None where it gets none by name."""
    if server.command is None:
        return None
    try:
        launch = _launch(server.model_copy(update={"build": None}))
    except ValueError:
        return None
    return (launch.kind, launch.main) if launch and launch.main else None


def _launch(server: ServerConfig) -> _Launch | None:
    """None where the command does not get a package by itself."""
    words = [server.command or "", *server.args]
    words[0] = PurePosixPath(words[0]).name
    for prefix, tool in _LAUNCHERS:
        if tuple(words[: len(prefix)]) == prefix:
            return _read(server, tool, words[len(prefix) :])
    if words[:2] == ["uv", "run"]:
        if len(words) < 3 or words[2].startswith("-"):
            raise _unknown(server, "of uv run only the form without options can be built: uv run COMMAND …")
        return _Launch(SourceKind.PYPI, [], words[2:]) if server.build else None
    return None


def _read(server: ServerConfig, tool: _Tool, words: Sequence[str]) -> _Launch:
    packages: list[str] = []
    chosen: str | None = None
    waiting = list(words)
    while waiting and waiting[0].startswith("-"):
        option, equals, value = waiting.pop(0).partition("=")
        if option == "--":
            break
        if option in tool.flags:
            continue
        if option not in tool.source | tool.more:
            raise _unknown(server, f"the option {option} of {server.command} cannot be built")
        if not equals:
            value = waiting.pop(0) if waiting else ""
        chosen = chosen or (value if option in tool.source or tool.kind is SourceKind.NPM else None)
        packages.append(value)
    if not waiting:
        raise _unknown(server, f"{server.command} has no package in its args")
    name, *arguments = waiting
    program = name
    if chosen is None:
        packages.insert(0, name)
        program = _program(tool.kind, name)
    if server.build is not None:
        # What is installed is told: what the command would get need be no package of a registry.
        return _Launch(tool.kind, packages, [program, *arguments])
    checked = [_checked(server, tool.kind, each) for each in packages]
    main = _checked(server, tool.kind, chosen or name)
    return _Launch(tool.kind, checked, [program, *arguments], main)


def _program(kind: SourceKind, package: str) -> str:
    """Give the command of the same name as the package, without scope, extras and version."""
    if kind is SourceKind.NPM:
        return npm_name(package).rpartition("/")[2]
    return re.split(r"[\[@=<>~! ]", package, maxsplit=1)[0]


def npm_name(package: str) -> str:
    """Give the name of `@scope/name@version`."""
    scope, at, rest = package.partition("/") if package.startswith("@") else ("", "", package)
    return scope + at + rest.partition("@")[0]


def _checked(server: ServerConfig, kind: SourceKind, package: str) -> str:
    if kind is SourceKind.NPM:
        good = _NPM.fullmatch(package)
    else:
        # uvx writes the version behind an @; `@latest` is what pip takes anyway.
        name, at, version = package.partition("@")
        package = f"{name}=={version}" if at and version != "latest" else name
        good = _PYPI.fullmatch(package)
    if not good or len(package) > 200:
        raise _unknown(server, f"{package!r} is no name of a package")
    return package


def _unknown(server: ServerConfig, reason: str) -> ValueError:
    return ValueError(f"build of the server {server.name!r} is needed: {reason}; {_EXAMPLES}")
