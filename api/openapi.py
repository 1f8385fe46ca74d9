"""The OpenAPI document: what FastAPI makes of the routes, with credentials, errors and examples added.

All of it comes from what the routes declare anyway, so that no route can forget it.
"""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from api.dependencies import Permitted, Public
from api.examples import example_of
from mcp_platform.contracts.access import Permission
from mcp_platform.contracts.base import Contract

SIGN_IN_PATH = "/api/v1/auth/token"
_SCHEMES = {
    "AccessToken": {
        "type": "oauth2",
        "description": "An access token, by username and password; an API key is taken here too",
        "flows": {"password": {"tokenUrl": SIGN_IN_PATH, "scopes": {}}},
    },
    "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


class ErrorAnswer(Contract):
    """Every error of this API. Further fields name what is concerned, such as `resource_id`."""

    detail: Any
    """What is wrong and what would be right; with 422 a list of `{loc, msg, type}`."""
    error_code: str
    request_id: str


_ERRORS: dict[int, tuple[str, dict[str, Any]]] = {
    400: (
        "The request cannot be understood",
        {"detail": "The body is not JSON", "error_code": "INVALID_REQUEST"},
    ),
    401: ("No credential that holds", {"detail": "Invalid or expired token", "error_code": "UNAUTHORIZED"}),
    402: (
        "The budget for language models is used up",
        {
            "detail": "Your budget for language models, 100000 tokens a day, is used up. It is renewed at"
            ' 2026-01-16T00:00:00Z; until then, "engine": "rules" does without a model',
            "error_code": "BUDGET_EXHAUSTED",
            "renewed_at": "2026-01-16T00:00:00Z",
        },
    ),
    403: (
        "The caller may not",
        {
            "detail": "Insufficient permissions to perform this action",
            "error_code": "FORBIDDEN",
            "required_permission": "mcps:delete",
        },
    ),
    404: (
        "No such resource",
        {
            "detail": "MCP tool not found",
            "error_code": "NOT_FOUND",
            "resource_type": "mcp_tool",
            "resource_id": "770e8400-e29b-41d4-a716-446655440002",
        },
    ),
    405: (
        "The path takes other methods",
        {"detail": "This path takes GET, POST", "error_code": "METHOD_NOT_ALLOWED"},
    ),
    409: (
        "It clashes with the present state",
        {"detail": "This username is taken", "error_code": "CONFLICT", "field": "username"},
    ),
    413: (
        "The body is too large",
        {
            "detail": "The body is larger than the limit of 1048576 bytes",
            "error_code": "PAYLOAD_TOO_LARGE",
            "limit_bytes": 1048576,
        },
    ),
    422: (
        "Fields are wrong",
        {
            "detail": [{"loc": ["body", "version"], "msg": "Field required", "type": "missing"}],
            "error_code": "VALIDATION_ERROR",
        },
    ),
    429: (
        "Too many requests",
        {
            "detail": "Rate limit exceeded. Please try again later.",
            "error_code": "RATE_LIMIT_EXCEEDED",
            "retry_after": 10,
        },
    ),
    503: (
        "A part that is needed is away",
        {
            "detail": "The database cannot be reached",
            "error_code": "SERVICE_UNAVAILABLE",
            "part": "database",
            "retry_after": 2,
        },
    ),
}
_STRUCTURED = ("application/json", "application/x-www-form-urlencoded", "multipart/form-data")
_ALWAYS = (405, 503)
_METHODS = frozenset({"get", "put", "post", "patch", "delete"})


def install_openapi(app: FastAPI) -> None:
    """Make the application serve the completed document."""
    plain = app.openapi

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            _complete(document, dict(_routes(app)))
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def declared(dependant: Dependant) -> Iterator[object]:
    """Give everything that a route depends on, however deep."""
    for dependency in dependant.dependencies:
        yield dependency.call
        yield from declared(dependency)


def _routes(app: FastAPI) -> Iterator[tuple[tuple[str, str], list[object]]]:
    for context in iter_route_contexts(app.routes):
        if isinstance(context.original_route, APIRoute):
            calls = list(declared(context.dependant))
            for method in context.methods or ():
                yield (context.path_format or "", method.lower()), calls


def _complete(document: dict[str, Any], routes: dict[tuple[str, str], list[object]]) -> None:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas["ErrorAnswer"] = ErrorAnswer.model_json_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["securitySchemes"] = _SCHEMES
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method in _METHODS:
                calls = routes[path, method]
                _describe(operation, calls)
                _add_errors(operation, path, method, calls)
                _add_examples(operation, schemas)


def _describe(operation: dict[str, Any], calls: list[object]) -> None:
    """Say in the list what the route promises, and below it what it needs."""
    promise, _, rest = " ".join(operation.get("description", "").split()).partition(". ")
    needed = [call.permission for call in calls if isinstance(call, Permitted)]
    operation["security"] = [{name: []} for name in _SCHEMES] if needed else []
    if promise:
        operation["summary"] = promise.rstrip(".")
    permission = "Needs no credential."
    if needed:
        permission = f"Permission: `{needed[0]}`" if needed[0] else "Permission: none; a session is enough."
    operation["description"] = f"{rest}\n\n{permission}".strip()


def _add_errors(operation: dict[str, Any], path: str, method: str, calls: list[object]) -> None:
    possible = set(_ALWAYS)
    if any(isinstance(call, Permitted) or (isinstance(call, Public) and call.metered) for call in calls):
        possible |= {401, 403, 429}
    if "requestBody" in operation:
        possible |= {400, 413, 422}
    if operation.get("parameters"):
        possible.add(422)
    if "{" in path or "requestBody" in operation:
        # A body may name a resource too.
        possible.add(404)
    if method != "get":
        possible.add(409)
        if any(isinstance(call, Permitted) and call.permission is Permission.ANALYSIS_RUN for call in calls):
            possible.add(402)
    for status in sorted(possible):
        described = operation["responses"].get(str(status))
        if described is None or status == 422:
            operation["responses"][str(status)] = _error(status)


def _error(status: int) -> dict[str, Any]:
    meaning, sample = _ERRORS[status]
    return {
        "description": meaning,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/ErrorAnswer"},
                "example": {**sample, "request_id": "0b8f4c0e6f0f4f0d9d2f3a8d3c1b2a90"},
            }
        },
    }


def _add_examples(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    contents = [answer.get("content", {}) for answer in operation["responses"].values()]
    contents.append(operation.get("requestBody", {}).get("content", {}))
    for content in contents:
        for kind, described in content.items():
            if kind == "application/json" and "example" not in described and described.get("schema"):
                described["example"] = example_of(described["schema"], schemas)
