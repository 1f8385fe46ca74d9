"""All routes of the authorization server."""

from api.oauth import authorize, connect, metadata, registration, token

ROUTERS = (metadata.router, registration.router, authorize.router, token.router, connect.router)
