"""How an error looks to a caller of the platform's own surfaces."""

from typing import Any

from mcp_platform.errors import PlatformError
from mcp_platform.request_id import LAST_ERROR

REQUEST_ID_HEADER = "X-Request-ID"


def render_error(error: PlatformError, request_id: str) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Give status, body and headers of the answer; the request's log line will have the code, too."""
    LAST_ERROR.set((request_id, error.code))
    body = {"detail": error.detail, "error_code": error.code, **error.fields, "request_id": request_id}
    return error.status, body, {**error.headers, REQUEST_ID_HEADER: request_id}


def render_unexpected(request_id: str) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Render a fault of ours: it tells the caller nothing but what to quote."""
    return render_error(PlatformError("An internal error occurred"), request_id)
