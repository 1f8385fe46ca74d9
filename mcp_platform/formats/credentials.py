"""Credentials that stand in a configuration in plain."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

_SUSPECT = re.compile(r"key|token|secret|password|passwd|credential|authorization|cookie", re.IGNORECASE)

_OPTION = re.compile(r"(?:api[-_]?key|access[-_]?key|token|secret|password|passwd)$", re.IGNORECASE)
_SHAPE = re.compile(
    r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{20,}"
    r"|sk-[A-Za-z0-9_-]{20,}|xox[abprs]-[A-Za-z0-9-]{10,}|AKIA[0-9A-Z]{16}|AIza[A-Za-z0-9_-]{35}"
    r"|npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{40,}|eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.)"
)
"""What tokens of GitHub, GitLab, model providers, Slack, AWS, Google, registries, and JWTs look like."""


@dataclass(frozen=True)
class PlainCredential:
    """A value that looks like a credential by the name of its place."""

    field: Literal["env", "headers"]
    name: str
    value: str

    def secret_names(self, slug: str) -> Iterator[str]:
        """Give names for the secret to take its place, the best first."""
        own = f"{slug}_{self.name}"
        for name in (self.name, own) if self.field == "env" else (own,):
            yield _as_name(name if name == self.name else name.upper())


def plain_credentials(server: dict[str, Any]) -> list[PlainCredential]:
    """Find them in an entry of `config.servers`."""
    return [
        PlainCredential(field, name, value)
        for field in ("env", "headers")
        for name, value in server.get(field, {}).items()
        if _SUSPECT.search(name) and value and "${" not in value
    ]


def _as_name(text: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_]", "_", text)[:128]
    return f"_{name}"[:128] if name[:1].isdigit() else name


def credential_places(config: dict[str, Any]) -> list[str]:
    """Name the places of a configuration that hold a credential in plain; never what it is."""
    found: list[str] = []
    for number, server in enumerate(config.get("servers", [])):
        where = f"servers.{number}"
        found += [f"{where}.{each.field}.{each.name}" for each in plain_credentials(server)]
        found += [f"{where}.args.{place}" for place in _in_arguments(server.get("args") or [])]
        if server.get("url") and _in_address(str(server["url"])):
            found.append(f"{where}.url")
    found += [place for place, text in _texts(config) if _SHAPE.search(text)]
    return list(dict.fromkeys(found))


def _in_arguments(arguments: list[Any]) -> Iterator[int]:
    named = False
    for place, argument in enumerate(map(str, arguments)):
        option, equals, value = argument.partition("=")
        if named and not argument.startswith("-") and "${" not in argument:
            yield place
        named = option.startswith("-") and _OPTION.search(option) is not None
        if named and equals:
            named = False
            if value and "${" not in value:
                yield place


def _in_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError:
        return False
    values = [value for name, value in parse_qsl(parts.query) if _OPTION.search(name)]
    return any(value and "${" not in value for value in (password, *values))


def _texts(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    waiting: list[tuple[str, Any]] = [("", config)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, str):
            yield place, value
            continue
        named = (
            value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else [])
        )
        waiting += [(f"{place}.{name}".lstrip("."), each) for name, each in named]
