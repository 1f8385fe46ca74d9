"""The id of the request that is being served, for log lines and answers.

A variable of its own: structlog's binding costs ten times as much, and every call of a tool pays it.
"""

from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any, Final

REQUEST_ID: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)

LAST_ERROR: Final[ContextVar[tuple[str, str] | None]] = ContextVar("last_error", default=None)
"""The id of the last request that was answered with an error, and the error's code."""


def add_request_id(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put the id into a log line, where there is one."""
    request_id = REQUEST_ID.get()
    if request_id is not None:
        line.setdefault("request_id", request_id)
    return line
