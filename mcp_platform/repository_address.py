"""The address of a repository, and of the API that it is asked about at."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from mcp_platform.github_settings import PUBLIC_API, PUBLIC_HOST

_OWNER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,98}[A-Za-z0-9])?")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")
_RIGHT = "it looks like https://github.com/owner/repository"


@dataclass(frozen=True)
class RepositoryAddress:
    """A repository, as its address names it."""

    api_url: str
    """Of the GitHub that it is at."""
    full_name: str


def read_address(repository_url: str, base_url: str | None, *, plain: bool) -> RepositoryAddress:
    """Read the address of a repository.

    Args:
        repository_url: As a browser shows it, or as it is cloned from.
        base_url: The API of an Enterprise server, where it is not at `/api/v3` of the repository's host.
        plain: Whether an address without TLS will do.

    Raises:
        ValueError: It is none; the message says what one looks like.
    """
    scheme, netloc, path = _parts(repository_url, plain, f"is no address of a repository: {_RIGHT}")
    owner, _, name = path.strip("/").partition("/")
    name = name.removesuffix(".git")
    if not _OWNER.fullmatch(owner) or not _NAME.fullmatch(name) or name in {".", ".."}:
        raise ValueError(f"is no address of a repository: {_RIGHT}")
    if base_url is not None:
        api_url = _api(base_url, plain)
        if not same_site(repository_url, api_url):
            raise ValueError("is at another host than base_url, the API that it is to be asked about at")
        return RepositoryAddress(api_url, f"{owner}/{name}")
    api_url = PUBLIC_API if netloc.lower() == PUBLIC_HOST else f"{scheme}://{netloc.lower()}/api/v3"
    return RepositoryAddress(api_url, f"{owner}/{name}")


def same_site(repository_url: str, api_url: str) -> bool:
    """Tell whether a repository is at the GitHub whose API this is: so a token may go to both."""
    site = _site(repository_url)
    return site == ("https", PUBLIC_HOST, 443) if api_url == PUBLIC_API else site == _site(api_url)


def _site(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(scheme)


def _api(base_url: str, plain: bool) -> str:
    wrong = "is no address of an API: it looks like https://github.example.com/api/v3"
    scheme, netloc, path = _parts(base_url, plain, wrong)
    if not re.fullmatch(r"(/[A-Za-z0-9._-]+)*/?", path) or ".." in path:
        raise ValueError(wrong)
    return f"{scheme}://{netloc.lower()}{path.rstrip('/')}"


def _parts(url: str, plain: bool, wrong: str) -> tuple[str, str, str]:
    """Give scheme, host with port, and path."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError(wrong) from None
    if not parts.hostname or parts.username is not None or parts.query or parts.fragment:
        raise ValueError(wrong)
    if not re.fullmatch(r"[A-Za-z0-9.-]+(:\d+)?", parts.netloc) or not url.isascii():
        raise ValueError(wrong)
    if parts.scheme not in ({"https", "http"} if plain else {"https"}):
        raise ValueError(f"{wrong}; it begins with https://")
    return parts.scheme, parts.netloc, parts.path
