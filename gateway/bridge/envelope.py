"""How the bridge answers: its envelope, and its words for errors."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from pydantic.alias_generators import to_camel
from starlette.responses import Response

from gateway.front.incoming import read_json
from gateway.policy.refusals import Refusal as PolicyRefusal
from mcp_platform import __version__
from mcp_platform.contracts.bridge import BridgeAnswer, Metadata
from mcp_platform.contracts.deployments import Route
from mcp_platform.errors import (
    NotFound,
    PlatformError,
    Unavailable,
    UpstreamTimedOut,
    ValidationFailed,
)
from mcp_platform.wire import INVALID_PARAMS, METHOD_NOT_FOUND, REQUEST_TIMEOUT, RpcError

VERSION: Final = f"v{__version__}"

B = TypeVar("B", bound=BaseModel)

_CODES: Final = {
    400: "INVALID_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    405: "METHOD_NOT_ALLOWED",
    409: "CONFLICT",
    413: "PAYLOAD_TOO_LARGE",
    422: "TOOL_ERROR",
    429: "RATE_LIMIT_EXCEEDED",
    503: "SERVICE_UNAVAILABLE",
}
"""By the status of the platform's own errors; what is not here is an INTERNAL_ERROR."""
_ABSENT: Final = {
    "mcp_tool": "SERVICE_NOT_FOUND",
    "service": "SERVICE_NOT_FOUND",
    "instance": "SERVICE_NOT_FOUND",
    "replica": "SERVICE_NOT_FOUND",
    "tool": "TOOL_NOT_FOUND",
}


class Refusal(Exception):
    """An error in the bridge's words."""

    def __init__(
        self,
        code: str,
        status: int,
        message: str,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.message = message
        self.details = dict(details or {})
        self.headers = dict(headers or {})

    def wire(self) -> dict[str, Any]:
        """Give the `error` member of an answer."""
        return {"code": self.code, "message": self.message, "details": self.details}


def refusal_of(error: PlatformError | RpcError | Refusal) -> Refusal:
    """Say an error in the bridge's words."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, PolicyRefusal):
        return refusal_of(error.error)
    if isinstance(error, RpcError):
        return _of_rpc(error)
    details = {to_camel(name): value for name, value in error.fields.items()}
    message = str(error)
    if isinstance(error, ValidationFailed):
        details = {"problems": error.detail}
        return Refusal("INVALID_REQUEST", 400, message, details)
    if isinstance(error, UpstreamTimedOut):
        return Refusal("REQUEST_TIMEOUT", 408, message, details)
    if isinstance(error, NotFound):
        code = _ABSENT.get(str(error.fields.get("resource_type")), "NOT_FOUND")
        return Refusal(code, 404, message, details)
    code = _CODES.get(error.status, "INTERNAL_ERROR")
    status = error.status if code != "INTERNAL_ERROR" else 500
    return Refusal(code, status, message, details, error.headers)


def _of_rpc(error: RpcError) -> Refusal:
    details = {"rpcCode": error.code}
    if error.code == REQUEST_TIMEOUT:
        return Refusal("REQUEST_TIMEOUT", 408, error.message, details)
    if error.code == METHOD_NOT_FOUND:
        return Refusal("TOOL_NOT_FOUND", 404, error.message, details)
    if error.code == INVALID_PARAMS:
        return Refusal("INVALID_REQUEST", 400, error.message, details)
    return Refusal("INTERNAL_ERROR", 500, error.message, details)


def unavailable(route: Route, error: Unavailable) -> Refusal:
    """Say that no instance of a service can be called."""
    healthy = len(route.upstreams)
    message = str(error)
    if not healthy and route.offline:
        message = f"All healthy instances of the service were taken offline: {route.slug}"
    elif not healthy:
        message = f"No healthy instances available for service: {route.slug}"
    total = max(route.wished, healthy)
    details = {"serviceName": route.slug, "totalInstances": total, "healthyInstances": healthy}
    return Refusal("SERVICE_UNAVAILABLE", 503, message, details, error.headers)


def service_missing(service: str) -> Refusal:
    """Say that there is no such service, or none that this caller may know of."""
    return Refusal("SERVICE_NOT_FOUND", 404, f"Service not found: {service}", {"serviceName": service})


def tool_missing(tool: str) -> Refusal:
    """Say that no service has such a tool, or none that this caller may call."""
    return Refusal("TOOL_NOT_FOUND", 404, f"Tool not found: {tool}", {"toolName": tool})


def failed(refusal: Refusal, request_id: str) -> Response:
    """Answer with an error."""
    metadata = _metadata(request_id)
    del metadata["version"]
    body = {"success": False, "error": refusal.wire(), "metadata": metadata}
    return Response(orjson.dumps(body), refusal.status, refusal.headers, "application/json")


def succeeded(data: dict[str, Any], request_id: str) -> Response:
    """Answer with data in the envelope."""
    body = {"success": True, "data": data, "metadata": _metadata(request_id)}
    return Response(orjson.dumps(body), media_type="application/json")


def plain(answer: BridgeAnswer) -> Response:
    """Answer without an envelope."""
    return Response(orjson.dumps(answer.wire()), media_type="application/json")


def read_order(kind: type[B], body: bytes) -> B:
    """Read a body.

    Raises:
        Refusal: It is no JSON, or not what is meant; `details.field` names what is wrong.
    """
    try:
        raw = read_json(body)
    except RpcError as error:
        raise Refusal("INVALID_REQUEST", 400, f"The body is not JSON: {error.message}") from None
    return validated(kind, raw)


def validated(kind: type[B], raw: Any) -> B:
    """Check a body that was read."""
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        problems = [
            {"field": ".".join(str(step) for step in each["loc"]) or "body", "message": each["msg"]}
            for each in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        first = problems[0]
        message = f"{first['field']}: {first['message']}"
        details = {"field": first["field"], "problems": problems}
        raise Refusal("INVALID_REQUEST", 400, message, details) from None


def request_id_in(body: bytes, otherwise: str) -> str:
    """Give the id by which a body calls its request, where it has a usable one."""
    if b'"requestId"' not in body:
        return otherwise
    try:
        metadata = orjson.loads(body).get("metadata")
        given = metadata.get("requestId")
    except (orjson.JSONDecodeError, AttributeError):
        return otherwise
    usable = isinstance(given, str) and 0 < len(given) <= 128 and given.isascii() and given.isprintable()
    return given if usable else otherwise


def _metadata(request_id: str) -> dict[str, Any]:
    return Metadata(request_id=request_id, timestamp=datetime.now(UTC), version=VERSION).wire()
