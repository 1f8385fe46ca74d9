"""What clients that may not are told of OAuth: challenges, and the metadata of endpoints."""

from typing import Any

from gateway.authorization.advertised import Advertised
from gateway.authorization.resources import Resources, endpoint_of_path
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.contracts.oauth import TOOLS_SCOPE
from mcp_platform.errors import Forbidden, NotFound, PlatformError, Unauthorized

METADATA_PATH = "/.well-known/oauth-protected-resource"


class Challenges:
    """Says where to sign in, for the endpoints that advertise it.

    Args:
        resources: The endpoints' addresses.
        advertised: Which of them advertise OAuth.
        issuer: The authorization server.
    """

    def __init__(self, resources: Resources, advertised: Advertised, issuer: str) -> None:
        self.resources = resources
        self._advertised = advertised
        self._issuer = issuer

    def of(self, path: str, error: PlatformError, with_credential: bool) -> dict[str, str]:
        """Give the headers that an error's answer has besides (RFC 6750, section 3; RFC 9728, section 5.1).

        Args:
            path: Of the request.
            error: What it is answered with.
            with_credential: Whether the request had a credential, which did not hold then.
        """
        if not isinstance(error, Unauthorized | Forbidden):
            return {}
        endpoint = endpoint_of_path(path)
        if endpoint is None or endpoint not in self._advertised:
            return {}
        parameters = {"resource_metadata": self.resources.metadata_address(endpoint), "scope": TOOLS_SCOPE}
        if isinstance(error, Forbidden):
            if error.fields.get("required_permission") != Permission.TOOLS_CALL:
                return {}
            parameters = {"error": "insufficient_scope", **parameters}
        elif with_credential:
            parameters = {"error": "invalid_token", **parameters}
        told = ", ".join(f'{name}="{value}"' for name, value in parameters.items())
        return {"WWW-Authenticate": f"Bearer {told}"}

    def metadata(self, path: str) -> dict[str, Any]:
        """Give the metadata of an endpoint (RFC 9728, section 2).

        Args:
            path: What follows `/.well-known/oauth-protected-resource`.

        Raises:
            NotFound: There is no such endpoint, or it does not advertise OAuth.
        """
        endpoint = self.resources.endpoint_of(path)
        if endpoint is None or endpoint not in self._advertised:
            raise NotFound("path", f"{METADATA_PATH}{path}", f"No such path: {METADATA_PATH}{path}")
        return {
            "resource": self.resources.address(endpoint),
            "authorization_servers": [self._issuer],
            "scopes_supported": [TOOLS_SCOPE],
            "bearer_methods_supported": ["header"],
            "resource_name": f"MCP Platform: {endpoint}",
        }


def audience_holds(principal: Principal, path: str) -> bool:
    """Tell whether a credential is good at this path: one for an endpoint is good there alone."""
    return principal.endpoint is None or principal.endpoint == endpoint_of_path(path)
