"""How the Platform API answers when something is wrong."""

from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.routing import compile_path
from temporalio.service import RPCError, RPCStatusCode

from mcp_platform.errors import (
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    PlatformError,
    Unavailable,
    ValidationFailed,
)
from mcp_platform.rendering import render_error
from mcp_platform.request_context import current_request_id

log = structlog.get_logger(__name__)

_TEMPORAL_TROUBLE: Final = {
    RPCStatusCode.ABORTED,
    RPCStatusCode.CANCELLED,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.INTERNAL,
    RPCStatusCode.RESOURCE_EXHAUSTED,
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.UNKNOWN,
}
"""What is no fault of the request's: Temporal, or the way to it, has trouble that it did not get over.

The client repeats what may be repeated for ten seconds. A connection that breaks is UNKNOWN or INTERNAL.
"""


def install_error_handlers(app: FastAPI) -> None:
    """Render every error in the contract's form.

    A WebSocket is refused with it before it is accepted, so that the client sees status and reason.
    """

    @app.exception_handler(PlatformError)
    async def platform_error(_connection: HTTPConnection, error: PlatformError) -> JSONResponse:
        return _answer(error)

    @app.exception_handler(RequestValidationError)
    async def validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
        return _answer(_from_validation(error))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        return _answer(_from_http(request, error))

    @app.exception_handler(RPCError)
    async def temporal_error(_connection: HTTPConnection, error: RPCError) -> JSONResponse:
        if error.status not in _TEMPORAL_TROUBLE:
            raise error
        log.warning("temporal_away", status=error.status.name, error=error.message)
        return _answer(Unavailable("Temporal cannot be reached", part="temporal"))

    @app.exception_handler(RuntimeError)
    async def temporal_not_yet_reached(_connection: HTTPConnection, error: RuntimeError) -> JSONResponse:
        if not _lazily_unconnected(error):
            raise error
        return _answer(Unavailable("Temporal cannot be reached yet", part="temporal"))


def problems_of(errors: list[Any]) -> list[dict[str, Any]]:
    """Pydantic's findings as the API shows them: without the input, which may hold a password."""
    problems = []
    for item in errors:
        problem = {"loc": list(item["loc"]), "msg": item["msg"], "type": item["type"]}
        context = {name: value for name, value in item.get("ctx", {}).items() if name != "error"}
        if context:
            problem["ctx"] = jsonable_encoder(context)
        problems.append(problem)
    return problems


def _lazily_unconnected(error: RuntimeError) -> bool:
    """Tell whether Temporal's client could not make its first connection, which it says so vaguely."""
    return str(error).startswith("Failed client connect")


def _from_validation(error: RequestValidationError) -> PlatformError:
    errors = list(error.errors())
    for item in errors:
        if item["type"] == "json_invalid":
            place = item["loc"][-1] if item["loc"] else 0
            reason = item.get("ctx", {}).get("error", item["msg"])
            return InvalidRequest(f"The body is not JSON: {reason} at character {place}")
    return ValidationFailed(problems_of(errors))


def _from_http(request: Request, error: HTTPException) -> PlatformError:
    if error.status_code == 404:
        return NotFound("path", request.url.path, f"No such path: {request.url.path}")
    if error.status_code == 405:
        return MethodNotAllowed(*_methods_of(request))
    if error.status_code == 400:
        return InvalidRequest(str(error.detail))
    raise error


def _methods_of(request: Request) -> list[str]:
    """List what a path takes: each method has a route of its own, and the framework names only one."""
    path = request.url.path
    methods: set[str] = set()
    for route in iter_route_contexts(request.app.routes):
        if route.methods and compile_path(route.path or "")[0].match(path):
            methods |= route.methods
    return sorted(methods)


def _answer(error: PlatformError) -> JSONResponse:
    status, body, headers = render_error(error, current_request_id())
    return JSONResponse(body, status, headers)
