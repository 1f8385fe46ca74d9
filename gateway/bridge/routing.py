"""The bridge's routes: each with the scope that it asks for, and the rate limit that it counts in."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from starlette.datastructures import QueryParams
from starlette.responses import Response

from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.bridge import BridgeAnswer
from mcp_platform.errors import MethodNotAllowed, NotFound
from mcp_platform.names import RouteClass

_NAME: Final = re.compile(r"\{(\w+)\}")


class Scope(StrEnum):
    """What a caller may do at the bridge."""

    READ = "READ"
    WRITE = "WRITE"
    ADMIN = "ADMIN"


PERMISSIONS: Final = {
    Scope.READ: Permission.DEPLOYMENTS_READ,
    Scope.WRITE: Permission.TOOLS_CALL,
    Scope.ADMIN: Permission.GATEWAY_ADMIN,
}


@dataclass
class Question:
    """A request that may be answered."""

    principal: Principal
    names: dict[str, str]
    """What the path names."""
    query: QueryParams
    body: bytes
    request_id: str
    address: str
    """Where it came from."""
    headers: Mapping[str, str]


Handler = Callable[[Question], Awaitable[BridgeAnswer | Response]]


@dataclass(frozen=True)
class BridgeRoute:
    """One route."""

    method: str
    path: str
    scope: Scope
    kind: RouteClass
    handler: Handler = field(repr=False)
    action: str = ""
    """What it changes, as the audit log calls it; empty where it changes nothing."""
    resource: str = ""
    """What that is a change of."""

    @property
    def pattern(self) -> re.Pattern[str]:
        """What its paths look like."""
        return re.compile(_NAME.sub(r"(?P<\1>[^/]+)", self.path))


class BridgeRoutes:
    """Finds the route of a request."""

    def __init__(self, routes: Sequence[BridgeRoute]) -> None:
        self.all = tuple(routes)
        self._patterns = [(route.pattern, route) for route in routes]

    def kind(self, path: str) -> RouteClass:
        """Tell which rate limit a path counts in, whatever the method, and if it is none of ours, too."""
        found = (route.kind for pattern, route in self._patterns if pattern.fullmatch(path))
        return next(found, RouteClass.BRIDGE_QUERY)

    def find(self, method: str, path: str) -> tuple[BridgeRoute, dict[str, str]]:
        """Find the route, and what the path names.

        Raises:
            NotFound: No route has this path.
            MethodNotAllowed: It takes other methods.
        """
        allowed = []
        for pattern, route in self._patterns:
            match = pattern.fullmatch(path)
            if match is not None:
                if route.method == method:
                    return route, match.groupdict()
                allowed.append(route.method)
        if allowed:
            raise MethodNotAllowed(*allowed)
        raise NotFound("path", path)
