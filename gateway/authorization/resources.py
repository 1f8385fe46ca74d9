"""The addresses of endpoints as OAuth knows them: resource indicators (RFC 8707) and audiences."""

import re
from typing import Final

_PREFIX: Final = "/mcp/"
_NAMES: Final = re.compile(r"[a-z0-9-]+/v1|group/[a-z0-9-]+|smart")


def endpoint_of_path(path: str) -> str | None:
    """Name the endpoint that a path belongs to: a slug, `group/{name}` or `smart`; None if it is none.

    What is beneath an endpoint, such as plain REST calls of its tools, belongs to it.
    """
    parts = path.removeprefix(_PREFIX).split("/") if path.startswith(_PREFIX) else []
    match parts:
        case ["smart"] | ["smart", ""]:
            return "smart"
        case ["group", name] | ["group", name, ""] if name:
            return f"group/{name}"
        case [slug, "v1", *_] if slug:
            return slug
    return None


def path_of(endpoint: str | None) -> str:
    """Give the path of an endpoint; an empty one of none."""
    return _path(endpoint) if endpoint else ""


class Resources:
    """Gives endpoints their addresses, and reads them back.

    Args:
        gateway_url: The address before `/mcp` under which users reach the gateway.
    """

    def __init__(self, gateway_url: str) -> None:
        self._base = gateway_url.rstrip("/")

    def address(self, endpoint: str) -> str:
        """Give the address of an endpoint."""
        return f"{self._base}{_path(endpoint)}"

    def metadata_address(self, endpoint: str) -> str:
        """Give the address of an endpoint's metadata (RFC 9728, section 3.1): before the path."""
        root, separator, prefix = _split(self._base)
        path = f"{separator}{prefix}{_path(endpoint)}"
        return f"{root}/.well-known/oauth-protected-resource{path}"

    def endpoint(self, resource: str) -> str | None:
        """Name the endpoint of an address, which may end in a slash; None if it is none of ours."""
        if not resource.startswith(self._base + _PREFIX):
            return None
        name = resource[len(self._base + _PREFIX) :].removesuffix("/")
        return name.removesuffix("/v1") if _NAMES.fullmatch(name) else None

    def endpoint_of(self, path: str) -> str | None:
        """Name the endpoint of an address by its path alone, that of the gateway's own address included."""
        return self.endpoint(f"{_split(self._base)[0]}{path}")


def _path(endpoint: str) -> str:
    if endpoint == "smart" or endpoint.startswith("group/"):
        return f"{_PREFIX}{endpoint}"
    return f"{_PREFIX}{endpoint}/v1"


def _split(url: str) -> tuple[str, str, str]:
    """Part an address into scheme with host, and path."""
    scheme, _, rest = url.partition("://")
    host, separator, path = rest.partition("/")
    return f"{scheme}://{host}", separator, path
