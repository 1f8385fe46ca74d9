"""What clients read first: the authorization server's metadata, and that of endpoints (embedded mode)."""

from typing import Any, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends
from starlette.responses import JSONResponse, Response

from api.dependencies import PartsDep, public
from gateway.authorization.challenges import METADATA_PATH
from mcp_platform.contracts.oauth import TOOLS_SCOPE, ClientAuthentication
from mcp_platform.errors import NotFound
from mcp_platform.settings import Settings

router = APIRouter(include_in_schema=False, dependencies=[Depends(public)])

SERVER_PATH: Final = "/.well-known/oauth-authorization-server"
GRANT_TYPES: Final = ["authorization_code", "refresh_token"]


@router.get(f"{SERVER_PATH}{{path:path}}")
async def server_metadata(path: str, parts: PartsDep) -> Response:
    """Describe the authorization server (RFC 8414); there is none while no endpoint advertises it."""
    own = urlsplit(parts.settings.issuer).path
    if path not in {own, f"{own}/"} or not await parts.oauth_endpoints():
        raise NotFound("path", f"{SERVER_PATH}{path}", f"No such path: {SERVER_PATH}{path}")
    return JSONResponse(_described(parts.settings))


@router.get(f"{METADATA_PATH}{{path:path}}")
async def endpoint_metadata(path: str, parts: PartsDep) -> Response:
    """Describe an endpoint of the gateway (RFC 9728), where this process is the gateway too."""
    if parts.gateway is None:
        raise NotFound("path", f"{METADATA_PATH}{path}", f"No such path: {METADATA_PATH}{path}")
    return JSONResponse(parts.gateway.challenges.metadata(path))


def _described(settings: Settings) -> dict[str, Any]:
    issuer = settings.issuer
    authentications = [each.value for each in ClientAuthentication]
    told: dict[str, Any] = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/oauth/authorize",
        "token_endpoint": f"{issuer}/oauth/token",
        "token_endpoint_auth_methods_supported": authentications,
        "revocation_endpoint": f"{issuer}/oauth/revoke",
        "revocation_endpoint_auth_methods_supported": authentications,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": GRANT_TYPES,
        "scopes_supported": [TOOLS_SCOPE],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "client_id_metadata_document_supported": True,
    }
    if settings.oauth.registration:
        told["registration_endpoint"] = f"{issuer}/oauth/register"
    return told
