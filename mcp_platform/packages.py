"""Names of packages: what is one, and which one a configuration's command runs."""

import re
from typing import Final

from mcp_platform.build_sources import launched_package, npm_name
from mcp_platform.contracts.checks import PackageQuestion, Registry
from mcp_platform.contracts.images import SourceKind
from mcp_platform.contracts.mcps import ServerConfig

_PYPI_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
"""https://packaging.python.org/en/latest/specifications/name-normalization/"""
_NPM_NAME: Final = re.compile(r"(@[A-Za-z0-9~-][A-Za-z0-9._~-]*/)?[A-Za-z0-9~-][A-Za-z0-9._~-]*")
"""The rules of npm's validate-npm-package-name, with the capital letters that old packages have."""
_LONGEST: Final = 214
_PINNED: Final = re.compile(r"={2,3} *([A-Za-z0-9.!+_-]+)")
_EXACT: Final = re.compile(r"=?v?(\d+\.\d+\.\d+(?:[-+][A-Za-z0-9.+-]+)?)")


def is_package_name(registry: Registry, name: str) -> bool:
    """Tell whether a registry could have a package of this name."""
    pattern = _PYPI_NAME if registry is Registry.PYPI else _NPM_NAME
    return len(name) <= _LONGEST and pattern.fullmatch(name) is not None


def normal_name(name: str) -> str:
    """Give the one spelling by which PyPI knows a package, however it is written."""
    return re.sub(r"[-_.]+", "-", name).lower()


def package_of(server: ServerConfig) -> PackageQuestion | None:
    """Give the package that a server's command runs, with the version that it pins.

    None where it runs none by name: `python -m …`, a program that is installed, a repository.
    """
    launched = launched_package(server)
    if launched is None and server.build is not None:
        if server.build.pypi:
            launched = SourceKind.PYPI, server.build.pypi[0]
        elif server.build.npm:
            launched = SourceKind.NPM, server.build.npm[0]
    if launched is None:
        return None
    kind, asked = launched
    if kind is SourceKind.NPM:
        name = npm_name(asked)
        pinned = _EXACT.fullmatch(asked[len(name) + 1 :])
        return PackageQuestion(registry=Registry.NPM, name=name, version=pinned[1] if pinned else None)
    name = re.split(r"[\[=<>~! ]", asked, maxsplit=1)[0]
    specifiers = re.sub(r"^\[[^\]]*\]", "", asked[len(name) :])
    pinned = _PINNED.fullmatch(specifiers.strip())
    return PackageQuestion(registry=Registry.PYPI, name=name, version=pinned[1] if pinned else None)


def pinned_to(
    server: ServerConfig, question: PackageQuestion, version: str
) -> tuple[list[str | int], str] | None:
    """Give where below a server its package is named, and what to write there to pin a version.

    None where that is not plain to see.
    """
    for number, argument in enumerate(server.args):
        option, equals, value = argument.partition("=") if argument.startswith("-") else ("", "", argument)
        if _names(value, question.name):
            spaced = number > 0 and server.args[number - 1].startswith("-")
            return [
                "args",
                number,
            ], f"{option}{equals}{_pinned(server, question, value, version, spaced or bool(option))}"
    named = server.build and (server.build.npm if question.registry is Registry.NPM else server.build.pypi)
    if named and _names(named[0], question.name):
        return ["build", question.registry.value, 0], _pinned(server, question, named[0], version, True)
    return None


def _names(argument: str, name: str) -> bool:
    rest = argument[len(name) :]
    return argument.startswith(name) and (not rest or rest[0] in "@[=<>~! ")


def _pinned(
    server: ServerConfig, question: PackageQuestion, asked: str, version: str, by_option: bool
) -> str:
    if question.registry is Registry.NPM:
        return f"{question.name}@{version}"
    extras = re.match(r"\[[^\]]*\]", asked[len(question.name) :])
    # uvx takes a version behind an @ where the package is the command, and as pip does elsewhere.
    separator = "@" if (server.command or "").endswith("uvx") and not by_option and not extras else "=="
    return f"{question.name}{extras[0] if extras else ''}{separator}{version}"
