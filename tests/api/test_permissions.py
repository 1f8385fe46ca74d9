"""No route without a declared permission."""

from pathlib import Path

import pytest
from fastapi.routing import APIRoute, APIWebSocketRoute, RouteContext, iter_route_contexts
from starlette.routing import Mount

from api.app import create_app
from api.dependencies import Permitted, Public
from api.openapi import declared
from mcp_platform.contracts.access import Permission, Role
from mcp_platform.security.permissions import ROLE_PERMISSIONS
from mcp_platform.settings import Settings

DOCUMENTS = {"/api/docs", "/api/docs/oauth2-redirect", "/api/redoc", "/api/openapi.json"}
"""Paths that FastAPI serves itself: they describe the API and show nothing of what is in it."""


def all_routes() -> list[RouteContext]:
    """Every route of the application, those of included routers too."""
    return list(iter_route_contexts(create_app(Settings(data_dir=Path("unused"))).routes))


def is_open(route: RouteContext) -> bool:
    """Whether the route says that it needs no credential."""
    return any(isinstance(call, Public) for call in declared(route.dependant))


@pytest.mark.parametrize("route", all_routes(), ids=lambda route: f"{route.methods or ''} {route.path}")
def test_a_route_declares_its_permission_or_that_it_is_public(route: RouteContext) -> None:
    if isinstance(route.original_route, Mount):
        # The gateway checks by itself, for each request: see tests/gateway and tests/bridge. The other one
        # is scripts.
        assert route.path in {"/mcp", "/api/static"}
        return
    if route.path in DOCUMENTS:
        return
    assert isinstance(route.original_route, APIRoute | APIWebSocketRoute), f"{route.path} goes past FastAPI"
    calls = list(declared(route.dependant))
    permissions = [call.permission for call in calls if isinstance(call, Permitted)]
    assert (len(permissions) == 1) != is_open(route), f"{route.path}: {permissions}"


def test_only_what_must_be_public_is_public() -> None:
    open_paths = {
        route.path for route in all_routes() if isinstance(route.original_route, APIRoute) and is_open(route)
    }
    assert open_paths - DOCUMENTS == {
        "/",
        "/api/v1/auth/register",
        "/api/v1/auth/login",
        "/api/v1/auth/token",
        "/api/v1/auth/refresh",
        "/api/v1/github/webhook",
        "/actuator/health",
        "/health",
        "/metrics",
        "/.well-known/oauth-authorization-server{path:path}",
        "/.well-known/oauth-protected-resource{path:path}",
        "/oauth/authorize",
        "/oauth/sign-in",
        "/oauth/consent",
        "/oauth/token",
        "/oauth/revoke",
        "/oauth/register",
        "/oauth/connect",
        "/oauth/callback",
        "/oauth/client-metadata.json",
    }


def test_only_leaving_and_a_new_password_need_no_permission() -> None:
    free = {
        route.path
        for route in all_routes()
        if isinstance(route.original_route, APIRoute)
        for call in declared(route.dependant)
        if isinstance(call, Permitted) and call.permission is None
    }
    assert free == {
        "/api/v1/auth/logout",
        "/api/v1/auth/sessions",
        "/api/v1/auth/sessions/{session_id}",
        "/api/v1/auth/me/password",
    }


def test_roles_grow_from_viewer_to_administrator() -> None:
    viewer, developer, admin = (ROLE_PERMISSIONS[role] for role in (Role.VIEWER, Role.DEVELOPER, Role.ADMIN))
    assert viewer < developer < admin == frozenset(Permission)
    assert Permission.DEPLOYMENTS_PROCESS not in developer
    assert Permission.SECRETS_USE not in developer
