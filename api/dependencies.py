"""What routes declare in their signatures: who is calling, and what they work with."""

from typing import Annotated

from fastapi import Depends, Query
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from api.parts import Parts
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.errors import Forbidden, Unauthorized

# These two only describe the credentials in the OpenAPI document; `Requires` reads the headers.
_BEARER = HTTPBearer(auto_error=False, bearerFormat="JWT", description="An access token or an API key")
_API_KEY = APIKeyHeader(name="X-API-Key", auto_error=False)


def parts_of(connection: HTTPConnection) -> Parts:
    """Give the parts of the application that serves this connection."""
    parts: Parts = connection.app.state.parts
    return parts


PartsDep = Annotated[Parts, Depends(parts_of)]


class Permitted:
    """Base of the dependencies that let in only callers with one permission.

    The tests look for one of these on each route.
    """

    def __init__(self, permission: Permission) -> None:
        self.permission = permission

    async def admit(self, connection: HTTPConnection, headers: Headers) -> Principal:
        """Give the principal that these headers speak for.

        Raises:
            Unauthorized: No credential, or one that does not hold.
            Forbidden: The caller lacks the permission.
        """
        principal = await parts_of(connection).credentials.authenticate(headers)
        if self.permission not in principal.permissions:
            raise Forbidden(self.permission)
        return principal


class Requires(Permitted):
    """Reads the credential from the request's headers."""

    async def __call__(
        self,
        connection: HTTPConnection,
        _bearer: Annotated[object, Depends(_BEARER)] = None,
        _api_key: Annotated[object, Depends(_API_KEY)] = None,
    ) -> Principal:
        """Give whoever is calling."""
        return await self.admit(connection, connection.headers)


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


def public() -> None:
    """Declare that a route needs no credential."""
