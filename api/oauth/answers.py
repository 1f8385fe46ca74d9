"""How the authorization server answers: OAuth's own errors, and redirects back to clients."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from starlette.datastructures import FormData, QueryParams
from starlette.responses import JSONResponse

NO_STORE: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_LONGEST: Final = 4096


class OAuthError(Exception):
    """An error of OAuth's own vocabulary (RFC 6749, sections 4.1.2.1 and 5.2).

    Args:
        code: Such as `invalid_request`.
        description: What is wrong and what would be right.
        status: Of an answer to the client itself.
    """

    def __init__(self, code: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.status = status

    def response(self) -> JSONResponse:
        """Answer the client with it."""
        headers = dict(NO_STORE)
        if self.status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="oauth"'
        body = {"error": self.code, "error_description": self.description}
        return JSONResponse(body, self.status, headers)


def parameters(given: QueryParams | FormData) -> dict[str, str]:
    """Give the parameters of a request, each of which may be there once (RFC 6749, section 3.1).

    Raises:
        OAuthError: One is there twice, is a file, or too long.
    """
    found: dict[str, str] = {}
    for name, value in given.multi_items():
        if not isinstance(value, str) or len(value) > _LONGEST:
            raise OAuthError("invalid_request", f"{name[:64]} is longer than {_LONGEST} characters")
        if name in found:
            raise OAuthError("invalid_request", f"{name[:64]} is there more than once")
        found[name] = value
    # A parameter without a value counts as left out (RFC 6749, section 3.1).
    return {name: value for name, value in found.items() if value}


def redirect_to(uri: str, told: Mapping[str, Any]) -> str:
    """Add parameters to a redirect URI, which may have some of its own."""
    query = urlencode({name: value for name, value in told.items() if value is not None})
    return f"{uri}{'&' if '?' in uri else '?'}{query}"
