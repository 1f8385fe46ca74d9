"""Which redirect URIs clients may have, and which of them a request means."""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import SplitResult, urlsplit

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_NEVER: Final = frozenset(
    {"about", "blob", "data", "file", "ftp", "javascript", "mailto", "vbscript", "view-source", "ws", "wss"}
)
_LONGEST: Final = 2048
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+|::1")
_UNSAFE: Final = re.compile(r"[\s\"'<>\\^`{|}]")


def problem_of(uri: str) -> str | None:
    """Say why an address cannot be a redirect URI; None if it can.

    It is https, http to this machine alone (RFC 8252, section 7.3), or a program's own scheme.
    """
    parts = _split(uri)
    if parts is None or not parts.scheme or len(uri) > _LONGEST or not _plain(uri):
        return f"is no absolute address of at most {_LONGEST} characters"
    if parts.fragment or uri.endswith("#"):
        return "has a fragment, which a redirect URI must not have"
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        return "is http to another machine: only https, or http to 127.0.0.1, [::1] or localhost, is safe"
    if parts.scheme in _NEVER or (parts.scheme in {"http", "https"} and not _is_host(parts.hostname)):
        return "is no address that a browser could go back to"
    if parts.username is not None or parts.password is not None:
        return "has a user or a password in it"
    return None


def matches(known: Iterable[str], given: str) -> bool:
    """Tell whether a redirect URI is one of these, to the letter; on this machine the port is free."""
    return any(uri == given or _same_but_port(uri, given) for uri in known)


def form_target(uri: str) -> str:
    """Name a redirect URI's origin as a Content-Security-Policy's `form-action` does."""
    parts = _split(uri)
    assert parts is not None
    # A policy cannot name IPv6 addresses, nor hosts of programs' own schemes.
    if parts.scheme not in {"http", "https"} or ":" in (parts.hostname or ""):
        return f"{parts.scheme}:"
    port = f":{parts.port}" if parts.port is not None else ""
    return f"{parts.scheme}://{parts.hostname}{port}"


def shown_host(uri: str) -> str:
    """Say, for a person, where a redirect URI leads."""
    parts = _split(uri)
    assert parts is not None
    if parts.hostname in _LOOPBACK:
        return "a program on this computer"
    return parts.hostname if parts.scheme in {"http", "https"} and parts.hostname else f"{parts.scheme}:"


def _plain(uri: str) -> bool:
    return uri.isascii() and uri.isprintable() and _UNSAFE.search(uri) is None


def _is_host(name: str | None) -> bool:
    return name is not None and _HOST.fullmatch(name) is not None


def _same_but_port(known: str, given: str) -> bool:
    one, other = _split(known), _split(given)
    if one is None or other is None or problem_of(given) is not None:
        return False
    if one.scheme != "http" or one.hostname not in _LOOPBACK:
        return False
    return (one.scheme, one.hostname, one.path or "/", one.query) == (
        other.scheme,
        other.hostname,
        other.path or "/",
        other.query,
    )


def _split(uri: str) -> SplitResult | None:
    try:
        parts = urlsplit(uri)
        parts.port  # noqa: B018 - it is read to see whether it is a number
    except ValueError:
        return None
    return parts
