"""What routes declare in their signatures: who is calling, and what they work with."""

from typing import Annotated

from fastapi import Depends, Query
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from api.audit import acting
from api.parts import Parts
from mcp_platform.client_address import client_address
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.errors import Forbidden, Unauthorized
from mcp_platform.names import RouteClass

_READING = frozenset({"GET", "HEAD", "OPTIONS"})


def parts_of(connection: HTTPConnection) -> Parts:
    """Give the parts of the application that serves this connection."""
    parts: Parts = connection.app.state.parts
    return parts


# Not a plain function: FastAPI would call that in a thread.
async def _parts(connection: HTTPConnection) -> Parts:
    return parts_of(connection)


PartsDep = Annotated[Parts, Depends(_parts)]


class Permitted:
    """Base of the dependencies that let in only callers with one permission.

    The tests look for one of these on each route, and `api.openapi` describes the credentials by it.

    Args:
        permission: What the caller needs; None where a credential that holds is enough.
        kind: Which rate limit the route counts for; by default the one of its method.
    """

    def __init__(self, permission: Permission | None, kind: RouteClass | None = None) -> None:
        self.permission = permission
        self._kind = kind

    async def admit(self, connection: HTTPConnection, headers: Headers) -> Principal:
        """Give the principal that these headers speak for.

        Raises:
            Unauthorized: No credential, or one that does not hold.
            RateLimited: The caller has had its share of this minute.
            Forbidden: The caller lacks the permission.
        """
        parts = parts_of(connection)
        kind = self._kind or _kind_of(connection)
        try:
            principal = await parts.credentials.authenticate(headers)
        except Unauthorized:
            await _charge_address(connection, parts, kind)
            raise
        acting(principal)
        await parts.limits.charge(connection.scope, kind, principal)
        if self.permission is not None and self.permission not in principal.permissions:
            raise Forbidden(self.permission)
        return principal


class Requires(Permitted):
    """Reads the credential from the request's headers."""

    async def __call__(self, connection: HTTPConnection) -> Principal:
        """Give whoever is calling."""
        return await self.admit(connection, connection.headers)


class RequiresCredential(Requires):
    """Lets in whoever has a credential that holds, whatever their role allows."""

    def __init__(self) -> None:
        super().__init__(None)


class RequiresToken(Permitted):
    """The same for browsers' sockets and event sources, which cannot set headers: `?token=`."""

    async def __call__(
        self,
        connection: HTTPConnection,
        token: Annotated[str | None, Query(description="An access token or an API key")] = None,
    ) -> Principal:
        """Give whoever is listening, by the token of the query or by the usual headers."""
        try:
            headers = Headers({"Authorization": f"Bearer {token}"}) if token else connection.headers
        except UnicodeEncodeError:
            raise Unauthorized from None
        return await self.admit(connection, headers)


class Public:
    """Declares that a route needs no credential.

    Args:
        kind: Which rate limit the route counts for, by address; None for what monitoring asks.
    """

    def __init__(self, kind: RouteClass | None) -> None:
        self._kind = kind

    @property
    def metered(self) -> bool:
        """Whether the route may answer that there were too many requests."""
        return self._kind is not None

    async def __call__(self, connection: HTTPConnection) -> None:
        """Charge the request to its address."""
        if self._kind is not None:
            await _charge_address(connection, parts_of(connection), self._kind)


public = Public(RouteClass.SIGN_IN)
"""For what proves who one is: registration, sign-in, refresh."""
unmetered = Public(None)
"""For what monitoring asks, and pages."""


def _kind_of(connection: HTTPConnection) -> RouteClass:
    return RouteClass.READ if connection.scope.get("method", "GET") in _READING else RouteClass.WRITE


async def _charge_address(connection: HTTPConnection, parts: Parts, kind: RouteClass) -> None:
    address = client_address(connection.scope, parts.settings.api.trusted_proxies)
    await parts.limits.charge_address(connection.scope, kind, address)
