"""What the bridge refuses, by its code.

BridgeError
├── InvalidRequest      400
├── Unauthorized        401
├── Forbidden           403
├── ToolNotFound        404
├── ServiceNotFound     404
├── RequestTimeout      408
├── ToolFailed          422
├── RateLimited         429
├── ServiceUnavailable  503
└── ConnectionFailed    no answer of the bridge at all
"""

from collections.abc import Mapping
from typing import Any


class BridgeError(Exception):
    """An error that the bridge answered with; codes without a class of their own are of this one."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "INTERNAL_ERROR",
        status: int = 0,
        details: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status
        self.details = dict(details or {})
        self.request_id = request_id
        self.retry_after = retry_after
        """Seconds after which to try again, where the bridge says so."""

    def __str__(self) -> str:
        """Give code and message."""
        return f"{self.code}: {self.message}"


class InvalidRequest(BridgeError):
    """The request is wrong; `details["field"]` names what, where it is one field."""


class Unauthorized(BridgeError):
    """There is no API key, or it does not hold."""


class Forbidden(BridgeError):
    """The API key does not allow this."""


class ToolNotFound(BridgeError):
    """No service has such a tool."""


class ServiceNotFound(BridgeError):
    """There is no such service or instance."""


class RequestTimeout(BridgeError):
    """The tool did not answer in time."""


class ToolFailed(BridgeError):
    """The tool ran, and says that it failed; the message is its own."""


class RateLimited(BridgeError):
    """Too many requests this minute."""


class ServiceUnavailable(BridgeError):
    """No healthy instance can be called, or too many calls are under way."""


class ConnectionFailed(BridgeError):
    """The bridge could not be reached, did not answer in time, or what answered is no bridge."""


BY_CODE: dict[str, type[BridgeError]] = {
    "INVALID_REQUEST": InvalidRequest,
    "UNAUTHORIZED": Unauthorized,
    "FORBIDDEN": Forbidden,
    "TOOL_NOT_FOUND": ToolNotFound,
    "SERVICE_NOT_FOUND": ServiceNotFound,
    "REQUEST_TIMEOUT": RequestTimeout,
    "TOOL_ERROR": ToolFailed,
    "RATE_LIMIT_EXCEEDED": RateLimited,
    "SERVICE_UNAVAILABLE": ServiceUnavailable,
}


def error_of(
    error: Mapping[str, Any],
    status: int,
    request_id: str | None = None,
    retry_after: float | None = None,
) -> BridgeError:
    """Make the exception of an `error` member."""
    code = str(error.get("code", "INTERNAL_ERROR"))
    details = error.get("details")
    return BY_CODE.get(code, BridgeError)(
        str(error.get("message", "")),
        code=code,
        status=status,
        details=details if isinstance(details, dict) else {},
        request_id=request_id,
        retry_after=retry_after,
    )
