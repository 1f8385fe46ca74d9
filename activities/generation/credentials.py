"""Credentials that stand in plain in what others wrote: `${NAME}` takes their place."""

import re
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from mcp_platform.formats.credentials import plain_credentials

_SUSPECT: Final = re.compile(r"key|token|secret|password|passwd|credential", re.IGNORECASE)
_OPTION: Final = re.compile(r"^--?([A-Za-z][A-Za-z0-9_-]*)(?:=(.*))?$", re.DOTALL)
_SHAPE: Final = re.compile(
    r"sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}"
    r"|xox[abeprs]-[A-Za-z0-9-]{10,}|AKIA[0-9A-Z]{16}|AIza[A-Za-z0-9_-]{30,}"
    r"|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*"
)
"""How well-known services' credentials look."""
_BLANK: Final = re.compile(
    r"^(<.*>|\[.*\]|\{\{.*\}\}|your[-_ ].*|.*[-_ ]here|x{3,}|\*{3,}|\.{3}|…|change[-_ ]?me)$", re.IGNORECASE
)
"""What people write where everybody puts a value of their own."""
_SCHEME: Final = re.compile(r"^(Bearer|Basic|Token|Bot) +", re.IGNORECASE)


@dataclass
class Hidden:
    """What took the place of what."""

    secrets: dict[str, str] = field(default_factory=dict)
    """What the secrets are, by their names."""
    plain: list[str] = field(default_factory=list)
    """Places where a real value stood, which somebody should revoke."""


def hide(server: dict[str, Any], slug: str) -> Hidden:
    """Put `${NAME}` in the place of credentials, and of blanks to fill in, in an entry of `config.servers`.

    Args:
        server: The entry, which is changed.
        slug: What names that say nothing by themselves begin with.
    """
    hidden = Hidden()
    for each in plain_credentials(_texts_only(server)):
        name = next(each.secret_names(slug))
        _keep(hidden, name, each.value, f"{each.field}.{each.name}")
        scheme = _SCHEME.match(each.value)
        server[each.field][each.name] = f"{scheme[0] if scheme else ''}${{{name}}}"
    _hide_by_shape(server, slug, hidden)
    _hide_arguments(server, slug, hidden)
    _hide_in_address(server, slug, hidden)
    return hidden


def _texts_only(server: dict[str, Any]) -> dict[str, Any]:
    """Give the entry as far as it is what it should be: the schema tells of the rest later."""
    return {
        name: {key: text for key, text in server[name].items() if isinstance(text, str)}
        for name in ("env", "headers")
        if isinstance(server.get(name), dict)
    }


def _hide_by_shape(server: dict[str, Any], slug: str, hidden: Hidden) -> None:
    for place in ("env", "headers"):
        for key, text in _texts_only(server).get(place, {}).items():
            if "${" not in text and (_SHAPE.search(text) or _BLANK.match(text.strip())):
                name = _name(key) if place == "env" else _name(f"{slug}_{key}")
                _keep(hidden, name, text, f"{place}.{key}")
                server[place][key] = f"${{{name}}}"


def _hide_arguments(server: dict[str, Any], slug: str, hidden: Hidden) -> None:
    args = server.get("args")
    if not isinstance(args, list):
        return
    expected: str | None = None
    for place, arg in enumerate(args):
        if not isinstance(arg, str):
            return
        option = _OPTION.match(arg)
        name, value = expected, arg
        if option is not None:
            suspect = _name(option[1]) if _SUSPECT.search(option[1]) else None
            expected = suspect if option[2] is None else None
            name, value = (suspect, option[2]) if option[2] else (None, arg)
        else:
            expected = None
        if "${" in value:
            continue
        if name is None and (found := _SHAPE.search(value)):
            name, value = _name(f"{slug}_credential"), found[0]
        if name is not None:
            _keep(hidden, name, value, f"args.{place}")
            args[place] = arg.replace(value, f"${{{name}}}") if value else arg


def _hide_in_address(server: dict[str, Any], slug: str, hidden: Hidden) -> None:
    url = server.get("url")
    if not isinstance(url, str):
        return
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    if "@" in parts.netloc:
        hidden.plain.append("url")
        url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    for key, value in parse_qsl(parts.query):
        if "${" not in value and (_SUSPECT.search(key) or _SHAPE.search(value)):
            name = _name(f"{slug}_{key}")
            _keep(hidden, name, value, f"url.{key}")
            url = re.sub(rf"(?<=[?&]{re.escape(key)}=)[^&#]*", f"${{{name}}}", url)
    server["url"] = url


def _keep(hidden: Hidden, name: str, value: str, place: str) -> None:
    hidden.secrets.setdefault(name, "")
    if not _BLANK.match(_SCHEME.sub("", value).strip()):
        hidden.plain.append(place)


def _name(text: str) -> str:
    name = re.sub(r"[^A-Z0-9_]", "_", text.upper())[:128]
    return f"_{name}"[:128] if name[:1].isdigit() else name
